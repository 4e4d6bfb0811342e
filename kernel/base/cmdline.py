"""The core's command line: `name=value` words and bare flags, as the boot loader passed them.

Names that several files of the core read are asked for where they matter; there is no list of all.
"""

from kpy import Slice, static, u8, u64

command_line = static(Slice[u8])

KIB = 1 << 10
SPACE, EQUALS, COMMA = ord(" "), ord("="), ord(",")
DIGIT_0, DIGIT_9 = ord("0"), ord("9")
LOWER_CASE = 0x20


class Suffix:
    """What may follow a size, in lower case."""

    BYTES, KIB, MIB, GIB = (ord(letter) for letter in "bkmg")


def set_command_line(text: Slice[u8]) -> None:
    """Remember the boot loader's command line, less the image's file name in front."""
    global command_line
    start: u64 = 0
    while start < len(text) and text[start] != SPACE:
        start += 1
    while start < len(text) and text[start] == SPACE:
        start += 1
    command_line = text[start : len(text)]


def equal(a: Slice[u8], b: Slice[u8]) -> bool:
    """Whether two texts are the same."""
    if len(a) != len(b):
        return False
    for i in range(len(a)):
        if a[i] != b[i]:
            return False
    return True


def word_end(text: Slice[u8], start: u64, separator: u8) -> u64:
    """Return where the word that begins at `start` ends."""
    end = start
    while end < len(text) and text[end] != separator:
        end += 1
    return end


def find_option(name: Slice[u8]) -> tuple[bool, Slice[u8]]:
    """Find the last `name` or `name=value` on the command line.

    Returns: whether it is there, and its value (empty for a bare name).
    """
    found = False
    value = command_line[0:0]
    start: u64 = 0
    while start < len(command_line):
        end = word_end(command_line, start, SPACE)
        equals = word_end(command_line[start:end], 0, EQUALS) + start
        if equal(command_line[start:equals], name):
            found = True
            value = command_line[min(equals + 1, end) : end]
        start = end + 1
    return found, value


def has_option(name: Slice[u8]) -> bool:
    """Whether `name` or `name=…` is on the command line."""
    found, _ = find_option(name)
    return found


def option(name: Slice[u8]) -> Slice[u8]:
    """Return the value of an option, empty when it is missing."""
    _, value = find_option(name)
    return value


def option_list_has(name: Slice[u8], item: Slice[u8]) -> bool:
    """Whether the comma-separated option `name` holds `item`; a missing option holds everything."""
    found, value = find_option(name)
    if not found:
        return True
    start: u64 = 0
    while start < len(value):
        end = word_end(value, start, COMMA)
        if equal(value[start:end], item):
            return True
        start = end + 1
    return False


def parse_number(text: Slice[u8]) -> tuple[u64, u64]:
    """Read decimal digits from the front of `text`.

    Returns: the number, and how many characters it took.
    """
    number: u64 = 0
    length: u64 = 0
    while length < len(text) and DIGIT_0 <= text[length] <= DIGIT_9 and number < 1 << 56:
        number = number * 10 + u64(text[length] - DIGIT_0)
        length += 1
    return number, length


def option_number(name: Slice[u8], default: u64) -> u64:
    """Return the number that an option gives, or `default`."""
    number, length = parse_number(option(name))
    return number if length != 0 else default


def parse_size(text: Slice[u8], default: u64) -> u64:
    """Return a size in bytes: digits with B, K, M or G behind them, KiB when bare; `default`
    without digits.
    """
    number, length = parse_number(text)
    if length == 0:
        return default
    if length == len(text):
        return number * KIB
    match text[length] | LOWER_CASE:
        case Suffix.BYTES:
            return number
        case Suffix.KIB:
            return number * KIB
        case Suffix.MIB:
            return number * (KIB * KIB)
        case Suffix.GIB:
            return number * (KIB * KIB * KIB)
        case _:
            return default
