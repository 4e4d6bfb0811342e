"""The bad end: a failed check, `panic("…")`, or an exception. The domain is reported as crashed,
with a backtrace.
"""

import abi
from kpy import Never, Ptr, asm, cold, export, ref, static, u64

from libos.console import drain_console, say
from libos.hypercall import sched_shutdown
from libos.layout import PAGE_SIZE, VIRT_BASE
from libos.memory import MAPPED_PAGES
from libos.probe import probe_load
from libos.symbols import print_address
from linetable.panic_text import PanicSite, PanicText, panic_text

MAX_FRAMES = 16

is_stopping = static(bool)


@asm("mov $0, rbp", "=r", sideeffect=True)
def read_rbp() -> u64: ...


@export
@cold
def kpy_panic(site: Ptr[PanicSite], first: u64, second: u64) -> Never:
    """Report a failed check: the compiler calls this."""
    if not is_stopping:
        text = PanicText()
        say(f"panic: {panic_text(ref(text), site, first, second)}")
        say(f"  at {site.file}:{site.line}")
        backtrace(read_rbp())
    stop_crashed()


@cold
def backtrace(frame_pointer: u64) -> None:
    """Print the callers, innermost first, along the chain of frame pointers."""
    frame, return_address = frame_pointer, u64(0)
    for _ in range(MAX_FRAMES):
        if not VIRT_BASE <= frame < VIRT_BASE + MAPPED_PAGES * PAGE_SIZE or frame % 8 != 0:
            return
        # What the words say is not trusted: they may lead anywhere, a stack's guard page included.
        if not probe_load(frame + 8, ref(return_address)) or return_address == 0:
            return
        print_address(return_address, return_address - 1)
        if not probe_load(frame, ref(frame)):
            return


@cold
def stop_crashed() -> Never:
    """End the domain with SHUTDOWN_crash; a failure on the way ends it at once."""
    global is_stopping
    if not is_stopping:
        is_stopping = True
        drain_console()
    while True:
        sched_shutdown(abi.SHUTDOWN_crash)
