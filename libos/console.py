"""The console: `say(f"…")` prints a line.

A domU has a ring of bytes that dom0's console daemon reads; the initial domain writes to the
machine's console by hypercall. The console works as soon as `init_console` ran, the second thing
that libos does.
"""

import abi
from kpy import Slice, barrier, formatter, ref, static, u8, u32, u64, volatile_load, volatile_store

from libos.hypercall import console_io, event_channel_op, sched_yield
from libos.layout import Mfn
from libos.memory import map_shared_page
from libos.start_info import boot, is_initial_domain
from libos.text import Text

DRAIN_YIELDS = 100_000
NEWLINE = ord("\n")

console_page = static(abi.xencons_interface, extern=True, symbol="console_page")
line = static(Text)


def init_console() -> None:
    """Map the ring, where there is one."""
    if not is_initial_domain():
        map_shared_page(u64(ref(console_page)), Mfn(boot().console.domU.mfn))


def console_write(text: Slice[u8]) -> None:
    """Print bytes as they are."""
    if is_initial_domain():
        console_io(u64(text.ptr), len(text))
        return
    for character in text:
        put_in_ring(character)
    notify_console()


def put_in_ring(character: u8) -> None:
    """Append a byte; wait for the daemon while the ring is full."""
    produced = console_page.out_prod
    while produced - volatile_load(ref(console_page.out_cons)) >= len(console_page.out):
        notify_console()
        sched_yield()
    console_page.out[produced % len(console_page.out)] = character
    barrier()  # the byte is there before the index says so
    volatile_store(ref(console_page.out_prod), produced + 1)


def notify_console() -> None:
    send = abi.evtchn_send(port=boot().console.domU.evtchn)
    event_channel_op(abi.EVTCHNOP_send, ref(send))


def drain_console() -> None:
    """Give the daemon time to read the ring before the domain ends."""
    if is_initial_domain():
        return
    for _ in range(DRAIN_YIELDS):
        if volatile_load(ref(console_page.out_cons)) == console_page.out_prod:
            return
        sched_yield()


def say_text(text: Slice[u8]) -> None:
    line.put_text(text)


def say_number(value: u64, negative: bool, style: u32) -> None:
    line.put_number(value, negative, style)


def say_end() -> None:
    line.put(NEWLINE)
    console_write(line.finish())


@formatter(say_text, say_number, say_end)
def say(text) -> None:
    """Print one line."""
