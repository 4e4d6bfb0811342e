"""The console: `say(f"…")` prints a line.

A domU has a ring that dom0's console daemon reads, drivers/consfront.py; the initial domain writes
to the machine's console by hypercall. It works as soon as `init_console` ran, the second thing that
libos does.
"""

from kpy import Slice, formatter, static, u8, u32, u64

from drivers.consfront import consfront_drain, consfront_init, consfront_write
from libos.hypercall import console_io
from libos.start_info import is_initial_domain
from libos.text import Text

NEWLINE = ord("\n")

line = static(Text)


def init_console() -> None:
    """Map the ring, where there is one."""
    if not is_initial_domain():
        consfront_init()


def console_write(text: Slice[u8]) -> None:
    """Print bytes as they are."""
    if is_initial_domain():
        console_io(u64(text.ptr), len(text))
    else:
        consfront_write(text)


def drain_console() -> None:
    """Have all output out before the domain ends."""
    if not is_initial_domain():
        consfront_drain()


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
