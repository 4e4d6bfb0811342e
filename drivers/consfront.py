"""The console's front end: two rings of bytes in a page that dom0's console daemon also maps.

Source: Xen public ABI, io/console.h. Indices run freely; the daemon takes from `out` and puts into
`in`, and is notified by an event. Output must work early and in a panic, so it waits without
threads, by yielding.
"""

import abi
from kpy import (
    Slice,
    barrier,
    ref,
    static,
    u8,
    u32,
    u64,
    volatile_load,
    volatile_store,
    wrapping_add,
    wrapping_sub,
)

from libos.hypercall import event_channel_op, sched_yield
from libos.layout import Mfn
from libos.memory import map_shared_page
from libos.start_info import boot

DRAIN_YIELDS = 100_000

console_page = static(abi.xencons_interface, extern=True, symbol="console_page")


def consfront_init() -> None:
    """Map the page; its frame and event channel are in start_info."""
    map_shared_page(u64(ref(console_page)), Mfn(boot().console.domU.mfn))


def consfront_port() -> u32:
    return boot().console.domU.evtchn


def notify_daemon() -> None:
    send = abi.evtchn_send(port=consfront_port())
    event_channel_op(abi.EVTCHNOP_send, ref(send))


def consfront_write(text: Slice[u8]) -> None:
    """Append bytes; yield while the ring is full."""
    for character in text:
        produced = console_page.out_prod
        while out_pending() >= len(console_page.out):
            notify_daemon()
            sched_yield()
        console_page.out[produced % len(console_page.out)] = character
        barrier()  # the byte is there before the index says so
        volatile_store(ref(console_page.out_prod), wrapping_add(produced, 1))
    notify_daemon()


def out_pending() -> u64:
    """How many bytes the daemon has not taken yet."""
    return u64(wrapping_sub(console_page.out_prod, volatile_load(ref(console_page.out_cons))))


def consfront_drain() -> None:
    """Give the daemon time to take what is left, before the domain ends."""
    for _ in range(DRAIN_YIELDS):
        if out_pending() == 0:
            return
        sched_yield()


def consfront_read() -> tuple[bool, u8]:
    """Take a byte that was typed; False when there is none."""
    consumed = console_page.in_cons
    if volatile_load(ref(console_page.in_prod)) == consumed:
        return False, 0
    barrier()
    character = console_page.in_[consumed % len(console_page.in_)]
    barrier()  # the byte is taken before the daemon may use its place
    volatile_store(ref(console_page.in_cons), wrapping_add(consumed, 1))
    notify_daemon()
    return True, character
