"""The headers of a first ping, against the same headers packed by Python."""

import ctypes
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import Array, Slice, jit, u8
from kpy.jit.memory import SliceView

from libos.internet import Host, Mac

OURS, DOM0, EVERYBODY = b"\x00\x16\x3e\x01\x02\x03", b"\xfe\xff\xff\xff\xff\xff", b"\xff" * 6
OUR_IP, DOM0_IP = bytes([10, 0, 100, 9]), bytes([10, 0, 100, 1])


class Wire:
    """A host of ours and the buffer in which it makes frames."""

    def __init__(self):
        self.program = jit.load("libos.internet")
        self.buffer = self.program.new(Array[u8, 1514])
        self.host = self.program.new(Host, mac=list(OURS), address=int.from_bytes(OUR_IP, "big"))
        self.mac = self.program.new(Mac)
        ctypes.memmove(int(self.mac), DOM0, 6)

    def call(self, name, *arguments):
        result = self.program[f"libos.internet.{name}"](*arguments)
        return (
            ctypes.string_at(result.address, len(result)) if hasattr(result, "address") else result
        )

    def answer(self, frame):
        """Return our answer to a frame; None when there is none."""
        ctypes.memmove(int(self.buffer), frame, len(frame))
        given = SliceView(Slice[u8], int(self.buffer), len(frame))
        if not self.call("Host.answer", self.host, given):
            return None
        return ctypes.string_at(int(self.buffer), len(frame))


@pytest.fixture(scope="module")
def wire():
    return Wire()


def checksum(data):
    words = struct.unpack(f">{(len(data) + 1) // 2}H", data + bytes(len(data) % 2))
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def arp(to, operation, sender, sender_ip, target, target_ip):
    head = struct.pack(">6s6sHHHBBH", to, sender, 0x0806, 1, 0x0800, 6, 4, operation)
    return head + sender + sender_ip + target + target_ip


def echo(to, sender, sender_ip, target_ip, kind, sequence, data=b"", identifier=0):
    icmp = struct.pack(">BBHHH", kind, 0, 0, identifier, sequence) + data
    icmp = icmp[:2] + struct.pack(">H", checksum(icmp)) + icmp[4:]
    ip = struct.pack(">BBHHHBBH4s4s", 0x45, 0, 20 + len(icmp), 0, 0, 64, 1, 0, sender_ip, target_ip)
    ip = ip[:10] + struct.pack(">H", checksum(ip)) + ip[12:]
    return to + sender + b"\x08\x00" + ip + icmp


def test_questions_are_built_right(wire):
    who = wire.call("Host.ask_mac", wire.host, wire.buffer, int.from_bytes(DOM0_IP, "big"))
    assert who == arp(EVERYBODY, 1, OURS, OUR_IP, bytes(6), DOM0_IP)
    address = int.from_bytes(DOM0_IP, "big")
    asked = wire.call("Host.ask_echo", wire.host, wire.buffer, wire.mac, address, 0x1234, 9)
    data = ctypes.string_at(int(wire.buffer) + len(asked) - 9, 9)
    assert asked == echo(DOM0, OURS, OUR_IP, DOM0_IP, 8, 0x1234, data)


def test_questions_to_us_are_answered(wire):
    asked = arp(EVERYBODY, 1, DOM0, DOM0_IP, bytes(6), OUR_IP)
    assert wire.answer(asked) == arp(DOM0, 2, OURS, OUR_IP, DOM0, DOM0_IP)
    asked = echo(OURS, DOM0, DOM0_IP, OUR_IP, 8, 7, b"some data!!", 99)
    assert wire.answer(asked) == echo(DOM0, OURS, OUR_IP, DOM0_IP, 0, 7, b"some data!!", 99)


@pytest.mark.parametrize(
    "frame",
    [
        arp(EVERYBODY, 1, DOM0, DOM0_IP, bytes(6), DOM0_IP),
        arp(OURS, 2, DOM0, DOM0_IP, OURS, OUR_IP),
        echo(OURS, DOM0, DOM0_IP, DOM0_IP, 8, 1),
        echo(OURS, DOM0, DOM0_IP, OUR_IP, 0, 1),
        echo(OURS, DOM0, DOM0_IP, OUR_IP, 8, 1)[:-1],
        echo(OURS, DOM0, DOM0_IP, OUR_IP, 8, 1)[:-1] + b"!",
        b"",
        bytes(60),
    ],
    ids=range(8),
)
def test_what_is_no_question_to_us_is_not_answered(wire, frame):
    assert wire.answer(frame) is None


def test_replies_are_known(wire):
    address = int.from_bytes(DOM0_IP, "big")
    reply = arp(OURS, 2, DOM0, DOM0_IP, OURS, OUR_IP)
    assert wire.call("is_arp_reply", reply, address)
    assert not wire.call("is_arp_reply", reply, address + 1)
    reply = echo(OURS, DOM0, DOM0_IP, OUR_IP, 0, 5).ljust(60, b"\0")
    assert wire.call("Host.is_echo_reply", wire.host, reply, 5)
    assert not wire.call("Host.is_echo_reply", wire.host, reply, 6)


@given(st.binary(max_size=80))
def test_no_frame_harms_us(wire, frame):
    wire.answer(frame)
    for kind in (b"\x08\x00", b"\x08\x06"):
        wire.answer(frame[:12] + kind + frame[14:])


@given(st.binary(max_size=99))
def test_checksum(wire, data):
    assert struct.pack("<H", wire.call("checksum", data)) == struct.pack(">H", checksum(data))


def test_both_zeros_of_the_checksum_are_sound(wire):
    """What Linux answers to our first request: it adjusts the sum, and comes to the other zero."""
    reply = bytearray(echo(OURS, DOM0, DOM0_IP, OUR_IP, 0, 0))
    for value in (b"\0\0", b"\xff\xff"):
        reply[36:38] = value
        assert wire.call("Host.is_echo_reply", wire.host, bytes(reply), 0)


def test_addresses_are_read(wire):
    assert wire.call("parse_address", b"10.0.100.9") == int.from_bytes(OUR_IP, "big")
