"""The xenstore client against a store in Python behind the ring: requests, errors, watches."""

import struct

import abi
import pytest
from kpy import jit

KINDS = ("XS_READ", "XS_WRITE", "XS_DIRECTORY", "XS_WATCH", "XS_TRANSACTION_START")
NAMES = {getattr(abi, name): name for name in (*KINDS, "XS_TRANSACTION_END")}
HEADER = struct.Struct("<IIII")


class Store:
    """Takes requests off the ring and answers them, whenever the client notifies or waits."""

    def __init__(self):
        self.program = jit.load(
            "libos.xenbus",
            replace={
                "libos.event.notify": lambda port: self.serve(),
                "libos.event.unmask": lambda port: None,
                "libos.event.event_count": lambda port: self.events,
                "libos.event.count_event": lambda port: None,
                "libos.thread.wait_event": lambda port, seen, deadline: self.serve() or True,
                "libos.memory.map_shared_page": lambda address, mfn: None,
            },
            also=["libos.start_info"],
        )
        info = self.program.new(abi.start_info, store_evtchn=3)
        self.program["libos.start_info.remember_start_info"](info)
        self.ring = self.program.ring
        self.start_over()

    def start_over(self, index=0):
        self.nodes, self.watches, self.received, self.pending = {}, [], b"", b""
        self.events, self.delay_bytes = 0, None
        for name in ("req_cons", "req_prod", "rsp_cons", "rsp_prod"):
            setattr(self.ring, name, index)

    def serve(self):
        self.events += 1
        while self.ring.req_cons != self.ring.req_prod:
            self.received += bytes([self.ring.req[self.ring.req_cons % 1024]])
            self.ring.req_cons = (self.ring.req_cons + 1) % 2**32
        while len(self.received) >= 16:
            kind, request, transaction, length = HEADER.unpack(self.received[:16])
            if len(self.received) < 16 + length:
                break
            payload, self.received = self.received[16 : 16 + length], self.received[16 + length :]
            self.answer(NAMES[kind], request, payload)
        self.send()

    def answer(self, kind, request, payload):
        path, _, value = payload.partition(b"\0")
        if kind == "XS_READ" and path not in self.nodes:
            return self.reply(abi.XS_ERROR, request, b"ENOENT\0")
        if kind == "XS_WRITE":
            self.nodes[path] = value
            for watched, token in self.watches:
                if path.startswith(watched):
                    self.reply(abi.XS_WATCH_EVENT, 0, path + b"\0" + token + b"\0")
        if kind == "XS_WATCH":
            self.watches.append((path, value.rstrip(b"\0")))
        answers = {
            "XS_READ": self.nodes.get(path, b""),
            "XS_DIRECTORY": b"".join(sorted(n.rsplit(b"/")[-1] + b"\0" for n in self.nodes)),
            "XS_TRANSACTION_START": b"42\0",
        }
        return self.reply(getattr(abi, kind), request, answers.get(kind, b"OK\0"))

    def reply(self, kind, request, payload):
        self.pending += HEADER.pack(kind, request, 0, len(payload)) + payload

    def send(self):
        """Put as much as fits into the ring."""
        while self.pending and (self.ring.rsp_prod - self.ring.rsp_cons) % 2**32 < 1024:
            self.ring.rsp[self.ring.rsp_prod % 1024] = self.pending[0]
            self.ring.rsp_prod = (self.ring.rsp_prod + 1) % 2**32
            self.pending = self.pending[1:]


@pytest.fixture(scope="module")
def shared_store():
    return Store()


@pytest.fixture(params=[0, 2**32 - 30], ids=["fresh", "wrapping"])
def store(shared_store, request):
    shared_store.start_over(request.param)
    return shared_store


def read(store, path):
    error, value = store.program.xenbus_read(0, path)
    return bytes(value) if error == 0 else error


def test_write_then_read(store):
    assert store.program.xenbus_write(0, b"data/x", b"17") == 0
    assert read(store, b"data/x") == b"17"
    assert store.nodes == {b"data/x": b"17"}


def test_errors_become_numbers(store):
    assert read(store, b"nothing") == -abi.ENOENT


def test_values_longer_than_the_ring(store):
    value = bytes(range(1, 251)) * 12
    assert store.program.xenbus_write(0, b"long", value) == 0
    assert read(store, b"long") == value


def test_directory(store):
    for name in (b"b", b"a"):
        store.program.xenbus_write(0, b"device/" + name, b"")
    error, names = store.program.xenbus_list(0, b"device")
    assert (error, bytes(names)) == (0, b"a\0b\0")


def test_transactions(store):
    assert store.program.begin_transaction() == (0, 42)
    assert store.program.end_transaction(42, True) == 0


def test_a_watch_event_between_request_and_reply_counts_and_is_no_reply(store):
    seen = store.program.xenbus_changes()
    assert store.program.xenbus_watch(b"data") == 0
    assert store.program.xenbus_write(0, b"data/y", b"1") == 0
    assert store.program.xenbus_changes() == seen + 1
    store.program.wait_change(seen)


def test_waiting_for_a_change_takes_the_event_from_the_ring(store):
    store.program.xenbus_watch(b"data")
    seen = store.program.xenbus_changes()
    store.reply(abi.XS_WATCH_EVENT, 0, b"data\0data\0")
    store.program.wait_change(seen)
    assert store.program.xenbus_changes() == seen + 1


def test_a_store_that_breaks_the_protocol_is_a_panic():
    store = Store()
    store.pending = HEADER.pack(abi.XS_READ, 1, 0, 5000)
    with pytest.raises(jit.KpyPanic, match="broke its protocol"):
        read(store, b"x")
