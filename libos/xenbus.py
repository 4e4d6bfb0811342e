"""xenstore, the tree of names that domains and their toolstack share, over a ring of bytes.

One request at a time: others wait. A changed node that is watched only makes `xenbus_changes` go
up, and whoever cares reads again; so nothing needs to be queued. Paths that do not begin with a
slash are relative to this domain's own.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Slice,
    TypeVar,
    barrier,
    formatter,
    i64,
    ref,
    sizeof,
    static,
    struct,
    u8,
    u32,
    u64,
    volatile_load,
    volatile_store,
    wrapping_add,
    wrapping_sub,
)

from libos.event import count_event, event_count, notify, unmask
from libos.layout import Mfn
from libos.memory import map_shared_page
from libos.start_info import boot, is_initial_domain
from libos.text import Text, parse_number, same_text
from libos.thread import FOREVER, wait_event

T = TypeVar("T")

RING_BYTES = abi.XENSTORE_RING_SIZE
NO_TRANSACTION = 0
ERRORS = ("EINVAL", "EACCES", "EEXIST", "ENOENT", "ENOMEM", "ENOSPC", "EAGAIN", "EBUSY", "EPERM")


@struct
class ErrorName:
    name: Slice[u8]
    number: i64


ring = static(abi.xenstore_domain_interface, extern=True, symbol="xenstore_page")
error_names = static(
    Array[ErrorName, len(ERRORS)],
    [{"name": name.encode(), "number": getattr(abi, name)} for name in ERRORS],
)
reply = static(Array[u8, abi.XENSTORE_PAYLOAD_MAX])
reply_header = static(abi.xsd_sockmsg)
is_busy = static(bool)
changes = static(u64)
composed = static(Text)


def has_xenbus() -> bool:
    """The initial domain has nobody to talk to: it is where xenstore will run."""
    return not is_initial_domain() and boot().store_evtchn != 0


def init_xenbus() -> None:
    if has_xenbus():
        map_shared_page(u64(ref(ring)), Mfn(boot().store_mfn))
        unmask(boot().store_evtchn)


# Bytes in and out of the ring


def put_bytes(data: Slice[u8]) -> None:
    """Append to the request ring, waiting while it is full."""
    for byte in data:
        while True:
            seen = event_count(boot().store_evtchn)
            if wrapping_sub(ring.req_prod, volatile_load(ref(ring.req_cons))) < RING_BYTES:
                break
            notify(boot().store_evtchn)
            wait_event(boot().store_evtchn, seen, FOREVER)
        ring.req[ring.req_prod % RING_BYTES] = byte
        barrier()
        volatile_store(ref(ring.req_prod), wrapping_add(ring.req_prod, 1))


def get_bytes(data: Slice[u8]) -> None:
    """Take from the response ring, waiting while it is empty."""
    for i in range(len(data)):
        while True:
            seen = event_count(boot().store_evtchn)
            if volatile_load(ref(ring.rsp_prod)) != ring.rsp_cons:
                break
            wait_event(boot().store_evtchn, seen, FOREVER)
        barrier()
        data[i] = ring.rsp[ring.rsp_cons % RING_BYTES]
        barrier()
        volatile_store(ref(ring.rsp_cons), wrapping_add(ring.rsp_cons, 1))


def bytes_of(value: Ptr[T]) -> Slice[u8]:
    return Slice[u8](Ptr[u8](u64(value)), sizeof(T))


# Messages


def request(kind: u32, transaction: u32, path: Slice[u8], rest: Slice[u8], rest_ends: bool) -> i64:
    """Send a path, a zero byte and `rest` (with its own zero byte when `rest_ends`), and wait for
    the reply.

    Returns: the length of the reply, which lies in `reply`; or a negative error number.
    """
    if not has_xenbus():
        return -abi.ENODEV
    acquire_ring()
    length = len(path) + 1 + len(rest) + u64(rest_ends)
    header = abi.xsd_sockmsg(type=kind, req_id=1, tx_id=transaction, len=u32(length))
    put_bytes(bytes_of(ref(header)))
    put_bytes(path)
    put_bytes(b"\0")
    put_bytes(rest)
    if rest_ends:
        put_bytes(b"\0")
    notify(boot().store_evtchn)
    result = receive_reply()
    release_ring()
    return result


def acquire_ring() -> None:
    """Wait until no other thread is in the middle of a request."""
    global is_busy
    while True:
        seen = event_count(boot().store_evtchn)
        if not is_busy:
            break
        wait_event(boot().store_evtchn, seen, FOREVER)
    is_busy = True


def release_ring() -> None:
    """Let another thread have the ring; it may have slept through its events."""
    global is_busy
    is_busy = False
    count_event(boot().store_evtchn)


def receive_reply() -> i64:
    """Take messages until one is no watch event."""
    while True:
        receive_message()
        if reply_header.type != abi.XS_WATCH_EVENT:
            break
    length = u64(reply_header.len)
    if reply_header.type == abi.XS_ERROR:
        return -error_number(reply[0 : length - min(length, 1)])
    return i64(length)


def receive_message() -> None:
    """Take one message from the ring into `reply`."""
    global changes
    get_bytes(bytes_of(ref(reply_header)))
    assert reply_header.len <= len(reply), "xenstore broke its protocol"
    get_bytes(reply[0 : u64(reply_header.len)])
    notify(boot().store_evtchn)
    if reply_header.type == abi.XS_WATCH_EVENT:
        changes += 1


def error_number(name: Slice[u8]) -> i64:
    for known in error_names:
        if same_text(known.name, name):
            return known.number
    return abi.EIO


# What programs use


def xenbus_read(transaction: u32, path: Slice[u8]) -> tuple[i64, Slice[u8]]:
    """Return 0 and the value, good until the next request; or a negative error number."""
    length = request(abi.XS_READ, transaction, path, b"", False)
    return min(length, 0), reply[0 : u64(max(length, 0))]


def xenbus_list(transaction: u32, path: Slice[u8]) -> tuple[i64, Slice[u8]]:
    """Return 0 and the names below a node, zero bytes between; or a negative error."""
    length = request(abi.XS_DIRECTORY, transaction, path, b"", False)
    return min(length, 0), reply[0 : u64(max(length, 0))]


def xenbus_write(transaction: u32, path: Slice[u8], value: Slice[u8]) -> i64:
    return min(request(abi.XS_WRITE, transaction, path, value, False), 0)


def xenbus_remove(transaction: u32, path: Slice[u8]) -> i64:
    return min(request(abi.XS_RM, transaction, path, b"", False), 0)


def xenbus_watch(path: Slice[u8]) -> i64:
    """Have `xenbus_changes` go up when something at or below a node changes, and once at first."""
    return min(request(abi.XS_WATCH, NO_TRANSACTION, path, path, True), 0)


def xenbus_unwatch(path: Slice[u8]) -> i64:
    return min(request(abi.XS_UNWATCH, NO_TRANSACTION, path, path, True), 0)


def begin_transaction() -> tuple[i64, u32]:
    """Return 0 and a transaction; or a negative error number."""
    length = request(abi.XS_TRANSACTION_START, NO_TRANSACTION, b"", b"", False)
    return min(length, 0), u32(parse_number(reply[0 : u64(max(length, 0))], 10))


def end_transaction(transaction: u32, commit: bool) -> i64:
    """Returns: -EAGAIN when somebody else changed what this read: do it all again."""
    return min(
        request(abi.XS_TRANSACTION_END, transaction, b"T" if commit else b"F", b"", False), 0
    )


def xenbus_changes() -> u64:
    return changes


def wait_change(seen: u64) -> None:
    """Sleep until a watch has fired since `xenbus_changes` was `seen`."""
    while True:
        events = event_count(boot().store_evtchn)
        if changes != seen:
            return
        if not is_busy and volatile_load(ref(ring.rsp_prod)) != ring.rsp_cons:
            acquire_ring()
            receive_message()
            release_ring()
        else:
            wait_event(boot().store_evtchn, events, FOREVER)


# Values with names made of pieces: compose(f"…"), then composed_text()


def compose_text(text: Slice[u8]) -> None:
    composed.put_text(text)


def compose_number(value: u64, negative: bool, style: u32) -> None:
    composed.put_number(value, negative, style)


def compose_end() -> None:
    composed.finish()


@formatter(compose_text, compose_number, compose_end)
def compose(text) -> None:
    """Make a path or a value of pieces, for `composed_text` to use before the next one is made."""


def composed_text() -> Slice[u8]:
    return composed.bytes[0 : composed.length]
