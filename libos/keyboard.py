"""What is typed at a domU's console, a line at a time and echoed."""

from kpy import Slice, u8, u64

from drivers.consfront import consfront_port, consfront_read
from libos.console import NEWLINE, console_write
from libos.event import event_count, unmask
from libos.thread import FOREVER, wait_event

RETURN, BACKSPACE, DELETE = ord("\r"), 8, 127


def init_keyboard() -> None:
    """Let the console's events through."""
    unmask(consfront_port())


def read_character() -> u8:
    """Sleep until a key is pressed."""
    while True:
        seen = event_count(consfront_port())
        is_there, character = consfront_read()
        if is_there:
            return character
        wait_event(consfront_port(), seen, FOREVER)


def read_line(to: Slice[u8]) -> u64:
    """Read up to the end of a line; what does not fit is neither taken nor echoed.

    Returns: the line's length, without its end.
    """
    length: u64 = 0
    while True:
        character = read_character()
        if character in (RETURN, NEWLINE):
            console_write(b"\n")
            return length
        if character in (BACKSPACE, DELETE):
            if length > 0:
                length -= 1
                console_write(b"\b \b")
        elif length < len(to):
            to[length] = character
            console_write(to[length : length + 1])
            length += 1
