"""What to do is the domain's command line: `probe`, `fuzz SEED`, or `die HOW`."""

from kpy import Ptr, Slice, export, ref, u8, u64

from libos.console import say
from libos.hostile.deaths import die
from libos.hostile.fuzz import fuzz
from libos.hostile.probe import run_probes
from libos.start_info import boot
from libos.text import parse_number, same_text

COMMAND_LINE_BYTES = 1024
SPACE = ord(" ")
WRONG_USE = 2


def word(line: Slice[u8], number: u64) -> Slice[u8]:
    """Return a word of the command line by number, empty behind the last."""
    start: u64 = 0
    for _ in range(number):
        while start < len(line) and line[start] != SPACE:
            start += 1
        while start < len(line) and line[start] == SPACE:
            start += 1
    end = start
    while end < len(line) and line[end] != SPACE:
        end += 1
    return line[start:end]


def command_line() -> Slice[u8]:
    text = ref(boot().cmd_line)
    bytes = Slice[u8](Ptr[u8](u64(text)), COMMAND_LINE_BYTES)
    length: u64 = 0
    while length < COMMAND_LINE_BYTES and bytes[length] != 0:
        length += 1
    return bytes[0:length]


@export
def main() -> u64:
    line = command_line()
    say(f"hostile: {line}")
    what = word(line, 0)
    if same_text(what, b"probe"):
        run_probes()
    elif same_text(what, b"fuzz"):
        fuzz(parse_number(word(line, 1), 10))
    elif same_text(what, b"die"):
        die(word(line, 1))
    else:
        say("hostile: the command line is `probe`, `fuzz SEED` or `die HOW`")
        return WRONG_USE
    return 0
