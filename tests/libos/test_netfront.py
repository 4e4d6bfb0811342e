"""The network front end against a back end in Python: frames both ways, odd ones, full rings."""

import ctypes
import random

import abi
import pytest
from kpy import Array, jit, u8

from drivers.netfront import FRAME_BYTES, NR_BUFFERS, Nic
from tests.libos.ring_machine import PAGE, SLOTS_OFFSET, BackEnd, number

SLOTS = 256
TX_BYTES, RX_BYTES = abi.netif_tx_sring_entry.size, abi.netif_rx_sring_entry.size
FOREVER = 2**64 - 1
MORE, EXTRA, BLANK = abi.NETRXF_more_data, abi.NETRXF_extra_info, abi.NETRXF_csum_blank


class NicBackEnd(BackEnd):
    """Takes what is sent into `wire`; delivers what `deliver` is given."""

    def __init__(self):
        super().__init__("drivers.netfront")
        self.start_over()

    def start_over(self, index=0):
        self.wire, self.to_deliver = [], []
        self.taken = self.filled = index
        self.granted, self.status, self.notified = {}, abi.NETIF_RSP_OKAY, 0
        self.front = self.program.new(Nic, port=5)
        self.call("Nic", "make_rings")
        self.sender, self.receiver = (self.header(name) for name in ("sender", "receiver"))

    def header(self, name):
        return self.program["drivers.ring.Ring.header"](getattr(self.front, name))

    def slot(self, ring, index, size):
        return getattr(self.front, ring).page + SLOTS_OFFSET + index % SLOTS * size

    def serve(self):
        """Take all that was sent, deliver what waits."""
        before = (self.taken, self.filled)
        while self.taken != self.sender.req_prod:
            self.take(self.slot("sender", self.taken, TX_BYTES))
            self.taken = (self.taken + 1) % 2**32
        self.sender.rsp_prod = self.taken
        self.sender.req_event = (self.taken + 1) % 2**32
        while self.to_deliver:
            self.fill(*self.to_deliver.pop(0))
        self.receiver.rsp_prod = self.filled
        self.events += before != (self.taken, self.filled)

    def take(self, slot):
        grant, offset, flags, identifier, size = (
            number(slot + at, bytes_) for at, bytes_ in ((0, 4), (4, 2), (6, 2), (8, 2), (10, 2))
        )
        assert (offset, flags) == (0, 0)
        address, is_read_only = self.granted[grant]
        assert is_read_only
        self.wire.append(ctypes.string_at(address, size))
        answer = identifier.to_bytes(2, "little") + self.status.to_bytes(2, "little", signed=True)
        ctypes.memmove(slot, answer, 4)

    def fill(self, data, flags=0, offset=0, status=None):
        """One slot: a piece of a frame, or as bytes with flags None the extra information."""
        slot = self.slot("receiver", self.filled, RX_BYTES)
        identifier, grant = number(slot, 2), number(slot + 4, 4)
        self.filled = (self.filled + 1) % 2**32
        if flags is None:
            ctypes.memmove(slot, data, 8)
            return
        address, is_read_only = self.granted[grant]
        assert not is_read_only
        ctypes.memmove(address + offset, data, len(data))
        length = len(data) if status is None else status
        answer = b"".join(value.to_bytes(2, "little") for value in (identifier, offset, flags))
        ctypes.memmove(slot, answer + length.to_bytes(2, "little", signed=True), 8)

    def send(self, frame):
        self.call("Nic", "send", frame)

    def receive(self, buffer_bytes=FRAME_BYTES):
        """Return the next frame, or None."""
        buffer = self.program.new(Array[u8, buffer_bytes])
        length = self.call("Nic", "receive", buffer, FOREVER)
        return ctypes.string_at(int(buffer), length) if length else None


@pytest.fixture(scope="module")
def shared_back():
    return NicBackEnd()


@pytest.fixture
def back(shared_back):
    shared_back.start_over()
    return shared_back


def frames(seed, count):
    source = random.Random(seed)
    return [source.randbytes(source.randint(14, FRAME_BYTES)) for _ in range(count)]


def test_frames_go_out_in_order_and_over_many_laps(back):
    sent = frames(1, 5 * SLOTS)
    for frame in sent:
        back.send(frame)
    back.call("Nic", "flush")
    assert back.wire == sent
    assert back.front.nr_free == NR_BUFFERS and back.front.nr_refused == 0


def test_frames_come_in_over_many_laps(back):
    for batch in range(12):
        expected = frames(batch, NR_BUFFERS - batch)
        back.to_deliver = [(frame, 0, batch) for frame in expected]
        assert [back.receive() for _ in expected] == expected
    assert back.receive() is None
    assert back.front.nr_dropped == 0
    assert back.receiver.req_prod - back.filled == NR_BUFFERS, "every buffer is offered again"


def test_notified_only_when_the_back_end_sleeps(back):
    back.send(bytes(60))
    assert back.notified == 1
    back.sender.req_event = 1000
    back.send(bytes(60))
    assert back.notified == 1


def test_a_refused_frame_is_counted_and_its_buffer_comes_back(back):
    back.status = abi.NETIF_RSP_ERROR
    back.send(bytes(60))
    back.call("Nic", "flush")
    assert (back.front.nr_refused, back.front.nr_free) == (1, NR_BUFFERS)


def test_a_frame_in_pieces_with_extra_information_is_put_together(back):
    more_extra = bytes([abi.XEN_NETIF_EXTRA_TYPE_HASH, abi.XEN_NETIF_EXTRA_FLAG_MORE]).ljust(8)
    last_extra = bytes([abi.XEN_NETIF_EXTRA_TYPE_GSO, 0]).ljust(8)
    back.to_deliver = [
        (b"a" * 700, MORE | EXTRA),
        (more_extra, None),
        (last_extra, None),
        (b"b" * 800, MORE, PAGE - 800),
        (b"c" * 14, 0),
        (b"next frame", 0),
    ]
    assert back.receive() == b"a" * 700 + b"b" * 800 + b"c" * 14
    assert back.receive() == b"next frame"
    assert back.receiver.req_prod - back.filled == NR_BUFFERS


@pytest.mark.parametrize(
    "bad",
    [
        [(b"x" * 60, BLANK)],
        [(b"", 0, 0, abi.NETIF_RSP_ERROR)],
        [(b"", 0, 0, abi.NETIF_RSP_DROPPED)],
        [(b"x" * 100, MORE), (b"", 0, 0, abi.NETIF_RSP_ERROR)],
        [(b"x" * 100, MORE), (b"", 0, 4000, 200)],  # beyond its page
        [(b"x" * FRAME_BYTES, MORE), (b"y", 0)],  # longer than the buffer
    ],
)
def test_a_bad_frame_is_dropped_and_the_next_one_comes(back, bad):
    back.to_deliver = [*bad, (b"good frame", 0)]
    assert back.receive() == b"good frame"
    assert back.front.nr_dropped == 1
    assert back.receiver.req_prod - back.filled == NR_BUFFERS


def test_half_a_frame_is_a_panic(back):
    back.to_deliver = [(b"half", MORE)]
    with pytest.raises(jit.KpyPanic, match="half a frame"):
        back.receive()


@pytest.mark.parametrize("length", [0, 13, FRAME_BYTES + 1])
def test_frames_of_impossible_length_are_panics(back, length):
    with pytest.raises(jit.KpyPanic):
        back.send(bytes(length))


def test_the_address_is_read_from_its_text(back):
    parse = back.program["drivers.netfront.parse_mac"]
    parse(b"00:16:3e:Aa:0F:9c", back.front.mac)
    assert bytes(back.front.mac) == bytes.fromhex("00163eaa0f9c")
    with pytest.raises(jit.KpyPanic, match="no address"):
        parse(b"", back.front.mac)
