"""The command line, `name=value` words apart by spaces: from the domain's configuration to the
program.
"""

import abi
from kpy import Slice, cast, ref, u8, u64

from libos.start_info import boot
from libos.text import SPACE, parse_number, same_text

EQUALS = ord("=")


def command_line() -> Slice[u8]:
    text = cast(u8, ref(boot().cmd_line))
    length: u64 = 0
    while length < abi.MAX_GUEST_CMDLINE and boot().cmd_line[length] != 0:
        length += 1
    return Slice[u8](text, length)


def option(name: Slice[u8]) -> Slice[u8]:
    """Return the value of an option; empty when it is not given."""
    line = command_line()
    start: u64 = 0
    while start < len(line):
        end = find(line, start, SPACE)
        middle = min(find(line, start, EQUALS), end)
        if middle < end and same_text(line[start:middle], name):
            return line[middle + 1 : end]
        start = end + 1
    return line[0:0]


def option_number(name: Slice[u8], otherwise: u64) -> u64:
    """Return an option that is a decimal number."""
    value = option(name)
    return parse_number(value, 10) if len(value) > 0 else otherwise


def find(text: Slice[u8], start: u64, character: u8) -> u64:
    """Return where a character comes first from `start` on; the length when it does not."""
    while start < len(text) and text[start] != character:
        start += 1
    return start
