"""A toy kernel with a network: dom0 echoes it three times, then it echoes for `serve` seconds."""

from kpy import Array, Slice, export, ref, static, u8, u16, u32, u64

from drivers.netfront import FRAME_BYTES, NO_FRAME, Nic
from libos.console import say
from libos.internet import ARP_AT, Arp, Host, Mac, header, is_arp_reply, parse_address
from libos.options import option, option_number
from libos.time import NS_PER_SECOND, system_time_ns

ECHOES, PATIENCE_NS, NS_PER_US = 3, 60 * NS_PER_SECOND, 1000

nic = static(Nic)
host = static(Host)
buffer = static(Array[u8, FRAME_BYTES])


def receive(deadline: u64) -> Slice[u8]:
    """Return the next frame that is no question to us, which is answered; empty: time is up."""
    while True:
        frame = buffer[0 : nic.receive(buffer[0:FRAME_BYTES], deadline)]
        if len(frame) == NO_FRAME or not host.answer(frame):
            return frame
        nic.send(frame)


def ping(mac: Mac, address: u32, sequence: u16) -> bool:
    start = system_time_ns()
    nic.send(host.ask_echo(buffer[0:FRAME_BYTES], ref(mac), address, sequence, 0))
    frame = receive(start + PATIENCE_NS)
    while not host.is_echo_reply(frame, sequence):
        if len(frame) == NO_FRAME:
            return False
        frame = receive(start + PATIENCE_NS)
    say(f"ping: echo {sequence} after {(system_time_ns() - start) // NS_PER_US} us")
    return True


@export
def main() -> u64:
    peer = parse_address(option(b"peer"))
    if not nic.open(0):
        say("ping: there is no network card")
        return 2
    host.mac, host.address = nic.mac, parse_address(option(b"address"))
    nic.send(host.ask_mac(buffer[0:FRAME_BYTES], peer))
    deadline = system_time_ns() + PATIENCE_NS
    frame = receive(deadline)
    while not is_arp_reply(frame, peer):
        if len(frame) == NO_FRAME:
            return 3
        frame = receive(deadline)
    mac = header(Arp, frame, ARP_AT).sender
    for sequence in range(ECHOES):
        if not ping(mac, peer, u16(sequence)):
            return 4
    deadline = system_time_ns() + option_number(b"serve", 0) * NS_PER_SECOND
    while len(receive(deadline)) != NO_FRAME:
        pass
    return 0
