"""xenstored's protocol: sessions, watches, and the guests' rings."""

import asyncio
import errno
from array import array

import pytest
import xen_codecs as abi
from hypothesis import given
from hypothesis import strategies as st
from xen.xs_wire import Decoder, Packet, ProtocolError, error_number, join_strings
from xenstored.daemon import Daemon
from xenstored.ring import Ring, RingConnection
from xenstored.tree import Permission

from tests.toolstack.fake_xen import FakeEvents, FakeXen


class Machine:
    """A daemon on a fake hypervisor, with sessions whose packets are kept in lists."""

    def __init__(self):
        self.events = FakeEvents()
        self.xen = FakeXen(self.events)
        self.daemon = Daemon(self.xen, self.events, None)

    def session(self, domid):
        sent = []
        return Client(self.daemon.open_session(domid, sent.append), sent)


class Client:
    """Sends requests and reads the reply; events stay in `events`."""

    def __init__(self, session, sent):
        self.session, self.sent = session, sent

    def request(self, kind, *strings, tx_id=0, raw=None):
        payload = raw if raw is not None else join_strings(*strings)
        start = len(self.sent)
        self.session.handle(Packet(kind, 7, tx_id, payload))
        reply = self.sent[start]
        assert (reply.req_id, reply.tx_id) == (7, tx_id)
        del self.sent[start]
        if reply.type == abi.XS_ERROR:
            raise OSError(error_number(reply.payload), "refused")
        assert reply.type == kind
        return reply.payload

    def write(self, path, value, tx_id=0):
        return self.request(abi.XS_WRITE, raw=path + b"\0" + value, tx_id=tx_id)

    def events(self):
        found = [packet.strings() for packet in self.sent if packet.type == abi.XS_WATCH_EVENT]
        self.sent.clear()
        return found


@pytest.fixture
def machine():
    return Machine()


@pytest.fixture
def dom0(machine):
    return machine.session(0)


@pytest.fixture
def guest(machine, dom0):
    dom0.request(abi.XS_MKDIR, b"/local/domain/5")
    dom0.request(abi.XS_SET_PERMS, b"/local/domain/5", b"n5")
    return machine.session(5)


def refused(number, call, *arguments, **named):
    """Assert that a request is refused with this errno."""
    with pytest.raises(OSError) as caught:
        call(*arguments, **named)
    assert caught.value.errno == number


def test_read_returns_the_bytes_without_a_terminator(dom0):
    dom0.write(b"/a", b"value")
    assert dom0.request(abi.XS_READ, b"/a") == b"value"


def test_relative_paths_start_at_home(machine, dom0, guest):
    guest.write(b"data/x", b"1")
    assert dom0.request(abi.XS_READ, b"/local/domain/5/data/x") == b"1"
    assert guest.request(abi.XS_GET_DOMAIN_PATH, b"5") == b"/local/domain/5\0"


@pytest.mark.parametrize("path", [b"", b"//", b"/a//b", b"/a/", b"/a b", b"@x", b"/" + b"x" * 3072])
def test_bad_paths_are_einval(dom0, path):
    refused(errno.EINVAL, dom0.request, abi.XS_READ, path)


def test_unknown_requests_and_transactions_are_refused(dom0):
    refused(errno.ENOSYS, dom0.request, 999, b"/")
    refused(errno.ENOENT, dom0.request, abi.XS_READ, b"/", tx_id=77)
    refused(errno.ENOENT, dom0.request, abi.XS_TRANSACTION_END, b"T")


def test_guest_may_not_introduce(guest):
    refused(errno.EACCES, guest.request, abi.XS_INTRODUCE, b"5", b"1", b"1")


def test_transaction_over_the_wire(dom0):
    tx_id = int(dom0.request(abi.XS_TRANSACTION_START, b"").rstrip(b"\0"))
    dom0.write(b"/a", b"1", tx_id=tx_id)
    refused(errno.ENOENT, dom0.request, abi.XS_READ, b"/a")
    dom0.request(abi.XS_TRANSACTION_END, b"T", tx_id=tx_id)
    assert dom0.request(abi.XS_READ, b"/a") == b"1"


def test_aborted_transaction_leaves_nothing(dom0):
    tx_id = int(dom0.request(abi.XS_TRANSACTION_START, b"").rstrip(b"\0"))
    dom0.write(b"/a", b"1", tx_id=tx_id)
    dom0.request(abi.XS_TRANSACTION_END, b"F", tx_id=tx_id)
    refused(errno.ENOENT, dom0.request, abi.XS_READ, b"/a")


def test_permissions_over_the_wire(dom0):
    dom0.write(b"/a", b"")
    dom0.request(abi.XS_SET_PERMS, b"/a", b"n0", b"r5", b"b6", b"w7")
    assert dom0.request(abi.XS_GET_PERMS, b"/a") == b"n0\0r5\0b6\0w7\0"
    refused(errno.EINVAL, dom0.request, abi.XS_SET_PERMS, b"/a", b"x5")
    refused(errno.EINVAL, dom0.request, abi.XS_SET_PERMS, b"/a")


def test_watch_fires_at_once_then_for_changes_below(dom0):
    dom0.request(abi.XS_WATCH, b"/a", b"token")
    assert dom0.events() == [[b"/a", b"token"]]
    dom0.write(b"/a/b", b"")
    dom0.write(b"/c", b"")
    assert dom0.events() == [[b"/a/b", b"token"]]
    dom0.request(abi.XS_UNWATCH, b"/a", b"token")
    dom0.write(b"/a/b", b"")
    assert dom0.events() == []
    refused(errno.ENOENT, dom0.request, abi.XS_UNWATCH, b"/a", b"token")


def test_relative_watch_reports_relative_paths(guest):
    guest.request(abi.XS_WATCH, b"device", b"t")
    guest.write(b"device/vbd", b"")
    assert guest.events() == [[b"device", b"t"], [b"device/vbd", b"t"]]


def test_removal_fires_watches_inside(dom0):
    dom0.write(b"/a/b/c", b"")
    dom0.request(abi.XS_WATCH, b"/a/b/c", b"deep")
    dom0.events()
    dom0.request(abi.XS_RM, b"/a")
    assert dom0.events() == [[b"/a/b/c", b"deep"]]


def test_guest_hears_only_of_what_it_may_read(dom0, guest):
    guest.request(abi.XS_WATCH, b"/secret", b"t")
    guest.events()
    dom0.write(b"/secret", b"x")
    dom0.request(abi.XS_RM, b"/secret")
    assert guest.events() == []


def test_transaction_fires_only_when_it_is_committed(dom0):
    dom0.request(abi.XS_WATCH, b"/a", b"t")
    dom0.events()
    tx_id = int(dom0.request(abi.XS_TRANSACTION_START, b"").rstrip(b"\0"))
    dom0.write(b"/a", b"1", tx_id=tx_id)
    assert dom0.events() == []
    dom0.request(abi.XS_TRANSACTION_END, b"T", tx_id=tx_id)
    assert dom0.events() == [[b"/a", b"t"]]


def test_reset_watches_forgets_all(guest):
    guest.request(abi.XS_WATCH, b"x", b"t")
    guest.request(abi.XS_RESET_WATCHES, b"")
    guest.events()
    guest.write(b"x", b"")
    assert guest.events() == []


def test_quotas_of_watches_and_transactions(guest):
    for index in range(128):
        guest.request(abi.XS_WATCH, b"x", b"%d" % index)
    refused(errno.ENOSPC, guest.request, abi.XS_WATCH, b"x", b"more")
    for _ in range(10):
        guest.request(abi.XS_TRANSACTION_START, b"")
    refused(errno.ENOSPC, guest.request, abi.XS_TRANSACTION_START, b"")


def test_endless_transaction_is_stopped(guest):
    tx_id = int(guest.request(abi.XS_TRANSACTION_START, b"").rstrip(b"\0"))
    with pytest.raises(OSError, match="refused") as caught:
        for _ in range(10000):
            guest.write(b"x", b"1", tx_id=tx_id)
    assert caught.value.errno == errno.ENOSPC
    guest.request(abi.XS_TRANSACTION_START, b"")


def test_long_directory_comes_in_parts(dom0):
    names = [b"node-%04d-%s" % (i, b"x" * 20) for i in range(300)]
    for name in names:
        dom0.write(b"/d/" + name, b"")
    refused(errno.E2BIG, dom0.request, abi.XS_DIRECTORY, b"/d")
    found, offset = b"", 0
    while not found.endswith(b"\0\0"):
        payload = dom0.request(abi.XS_DIRECTORY_PART, b"/d", b"%d" % offset)
        part = payload[payload.index(b"\0") + 1 :]
        found += part
        offset += len(part)
    assert found[:-2].split(b"\0") == names


@given(st.binary(max_size=64), st.integers(0, 25))
def test_no_payload_breaks_a_session(payload, kind):
    machine = Machine()
    for domid in (0, 5):
        client = machine.session(domid)
        client.session.handle(Packet(kind, 1, 0, payload))
        assert client.sent


def test_decoder_takes_packets_byte_by_byte():
    packet = Packet(abi.XS_READ, 1, 2, b"/a\0")
    decoder = Decoder()
    for byte in packet.encode()[:-1]:
        decoder.feed(bytes([byte]))
        assert decoder.next() is None
    decoder.feed(packet.encode()[-1:])
    assert decoder.next() == packet


def test_decoder_refuses_a_payload_that_is_too_long():
    decoder = Decoder()
    decoder.feed(Packet(abi.XS_READ, 0, 0, b"x" * 4097).encode())
    with pytest.raises(ProtocolError):
        decoder.next()


class GuestRing:
    """The guest's side of the shared page, and the daemon's connection to it."""

    def __init__(self, machine, domid=5):
        self.page = memoryview(bytearray(4096))
        self.shared = abi.xenstore_domain_interface.from_buffer(self.page)
        self.notified = 0
        self.loop = asyncio.new_event_loop()
        self.connection = RingConnection(self.page, self._notify, self.loop)
        self.connection.session = machine.daemon.open_session(domid, self.connection.send)

    def _notify(self):
        self.notified += 1

    def put(self, data):
        base = abi.xenstore_domain_interface.req.offset
        for byte in data:
            self.page[base + self.shared.req_prod % 1024] = byte
            self.shared.req_prod += 1

    def get(self):
        base = abi.xenstore_domain_interface.rsp.offset
        data = bytearray()
        while self.shared.rsp_cons != self.shared.rsp_prod:
            data.append(self.page[base + self.shared.rsp_cons % 1024])
            self.shared.rsp_cons += 1
        return bytes(data)

    def settle(self):
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()


@pytest.fixture
def ring(machine, guest):
    ring = GuestRing(machine)
    yield ring
    ring.loop.close()


def test_ring_carries_requests_and_replies(ring):
    for number in range(200):
        ring.put(Packet(abi.XS_WRITE, number, 0, b"x\0" + b"v" * 40).encode())
        ring.connection.run()
        decoder = Decoder()
        decoder.feed(ring.get())
        assert decoder.next() == Packet(abi.XS_WRITE, number, 0, b"OK\0")
    assert ring.notified == 200


def test_reply_longer_than_the_ring_comes_in_pieces(ring, dom0):
    dom0.write(b"/local/domain/5/long", b"y" * 2500)
    ring.put(Packet(abi.XS_READ, 1, 0, b"long\0").encode())
    decoder = Decoder()
    for _ in range(4):
        ring.connection.run()
        decoder.feed(ring.get())
    assert decoder.next().payload == b"y" * 2500


def test_event_caused_by_another_reaches_the_ring(ring, dom0):
    ring.put(Packet(abi.XS_WATCH, 1, 0, b"w\0t\0").encode())
    ring.connection.run()
    ring.get()
    dom0.write(b"/local/domain/5/w", b"")
    ring.settle()
    decoder = Decoder()
    decoder.feed(ring.get())
    assert decoder.next().strings() == [b"w", b"t"]


@pytest.mark.parametrize("field", ["req_prod", "req_cons", "rsp_cons"])
def test_wild_index_ends_the_connection_with_a_reason(ring, field):
    ring.put(Packet(abi.XS_READ, 1, 0, b"x\0").encode())
    setattr(ring.shared, field, 0x80001234)
    ring.connection.run()
    assert ring.connection.broken
    assert ring.shared.error == abi.XENSTORE_ERROR_RINGIDX


def test_guest_that_never_reads_cannot_fill_our_memory(ring, dom0):
    ring.put(Packet(abi.XS_WATCH, 1, 0, b".\0t\0".replace(b".", b"w")).encode())
    ring.connection.run()
    for index in range(2000):
        dom0.write(b"/local/domain/5/w/%d" % index, b"")
        dom0.sent.clear()
    assert len(ring.connection.queue) < 300


@given(st.lists(st.integers(0, 0xFFFFFFFF), min_size=4, max_size=4))
def test_no_indices_raise_anything_but_a_protocol_error(indices):
    ring = Ring(memoryview(bytearray(2048) + array("I", indices).tobytes() + bytes(2032)))
    for action in (ring.read, lambda: ring.write(b"x" * 100)):
        try:
            action()
        except ProtocolError:
            continue


def test_permissions_parse_and_encode():
    for text in (b"n0", b"r1", b"w65535", b"b7"):
        assert Permission.parse(text).encode() == text
