"""What a network card behind dom0 gives: frames that dom0 takes and drops, and echoes by it."""

from kpy import Array, Ptr, Slice, ref, static, u8, u16, u32, u64

from drivers.netfront import FRAME_BYTES, NO_FRAME, Nic
from libos.bench.measure import ITERATIONS, put_sample, report, report_rate
from libos.console import say
from libos.internet import (
    ARP_AT,
    ECHO_FRAME,
    Arp,
    Host,
    Mac,
    header,
    is_arp_reply,
    parse_address,
)
from libos.options import option
from libos.time import NS_PER_SECOND, system_time_ns

CARD = 0
NR_FRAMES = 4096
NR_ECHOES = 1024
WINDOW = 16  # echoes under way
PATIENCE_NS = 60 * NS_PER_SECOND
NOBODYS_PROTOCOL = 0x88B5  # set aside for experiments

nic = static(Nic)
host = static(Host)
buffer = static(Array[u8, FRAME_BYTES])


def measure_network() -> u64:
    """Return the exit code."""
    peer = parse_address(option(b"peer"))
    if not nic.open(CARD):
        say("bench: no network card")
        return 3
    mac = find(peer)
    round_trips(ref(mac), peer)
    send_stream(ref(mac))
    echo_stream(ref(mac), peer)
    assert nic.nr_refused == 0 and nic.nr_dropped == 0
    return 0


def find(peer: u32) -> Mac:
    """Learn who we are, and dom0's address on the wire."""
    host.mac, host.address = nic.mac, parse_address(option(b"address"))
    nic.send(host.ask_mac(buffer[0:FRAME_BYTES], peer))
    while True:
        frame = receive()
        if is_arp_reply(frame, peer):
            return header(Arp, frame, ARP_AT).sender


def receive() -> Slice[u8]:
    """Take the next frame that is no question to us."""
    while True:
        length = nic.receive(buffer[0:FRAME_BYTES], system_time_ns() + PATIENCE_NS)
        assert length != NO_FRAME, "dom0 does not answer"
        if not host.answer(buffer[0:length]):
            return buffer[0:length]
        nic.send(buffer[0:length])


def ask(mac: Ptr[Mac], peer: u32, sequence: u64, data_bytes: u64) -> None:
    nic.send(host.ask_echo(buffer[0:FRAME_BYTES], mac, peer, u16(sequence), data_bytes))


def await_echo(sequence: u64) -> None:
    while not host.is_echo_reply(receive(), u16(sequence)):
        pass


def round_trips(mac: Ptr[Mac], peer: u32) -> None:
    """Wait for each of many small echoes; the first one is for warmth."""
    ask(mac, peer, ITERATIONS, 0)
    await_echo(ITERATIONS)
    for i in range(ITERATIONS):
        start = system_time_ns()
        ask(mac, peer, i, 0)
        await_echo(i)
        put_sample(i, system_time_ns() - start)
    report(b"toy_network_round_trip")


def send_stream(mac: Ptr[Mac]) -> None:
    """Send frames of the greatest length as fast as the card takes them."""
    host.begin_frame(buffer[0:FRAME_BYTES], mac, NOBODYS_PROTOCOL)
    start = system_time_ns()
    for _ in range(NR_FRAMES):
        nic.send(buffer[0:FRAME_BYTES])
    nic.flush()
    report_rate(b"toy_network_send_stream", NR_FRAMES * FRAME_BYTES, start)


def echo_stream(mac: Ptr[Mac], peer: u32) -> None:
    """Have dom0 echo frames of the greatest length, WINDOW of them under way, in order."""
    start = system_time_ns()
    for i in range(NR_ECHOES + WINDOW):
        if i >= WINDOW:
            await_echo(i - WINDOW)
        if i < NR_ECHOES:
            ask(mac, peer, i, FRAME_BYTES - ECHO_FRAME)
    report_rate(b"toy_network_echo_stream", NR_ECHOES * FRAME_BYTES, start)
