"""The symbol table that a Linux kernel carries itself (kallsyms), for a file without any other.

Nothing says where its parts are, so they are recognised: the table of 256 tokens by its digits, the
rest by what must lie before it. Source: the layout that Linux 4.6 to 6.1 gives them, one after
another, each aligned to 8:

    offsets         i32 each: of the symbol's address from the base, see `_address`
    base            u64
    count           u32
    names           for each symbol a length (two bytes if above 127) and so many token numbers
    markers         u32 each: where in the names every 256th one begins
    (since 6.2, and in 6.1's updates, three bytes a symbol, to find symbols by name)
    tokens          256 texts, each up to a zero byte
    token index     u16 each: where in the tokens each one begins
"""

import struct

from dwarf.bytes import Truncated

DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
FIRST_DIGIT = ord("0")  # the number of its token: a character that occurs alone stands for itself
NR_TOKENS = 256
NAMES_PER_MARKER = 256
LONGEST_NAME = 64  # in tokens, on average
LEAST_MARKERS = 4
MOST_BETWEEN = 2 << 20  # bytes from the markers to the tokens
TEXT_KINDS = "tTwW"


def read_kallsyms(data):
    """Return [(address, name)] of a kernel's functions, by address; [] if it has no such table.

    Args: data: the file's bytes.
    """
    data = bytes(data)
    try:
        return _read(data)
    except (IndexError, struct.error, Truncated):
        return []


def _read(data):
    at, tokens = _find_tokens(data)
    if not tokens:
        return []
    for markers, length in _candidates(data, at):
        count_at = _count_before(data, markers, length)
        if count_at is not None:
            return sorted(_symbols(data, count_at, tokens))
    return []


def _find_tokens(data):
    """Return where the tokens are, and their texts; (0, []) if they are nowhere."""
    digits = data.find(DIGITS)
    while digits >= 0:
        start = digits
        for _ in range(FIRST_DIGIT):
            start = data.rfind(b"\0", 0, start - 1) + 1
        texts = data[start : start + NR_TOKENS * 64].split(b"\0")[:NR_TOKENS]
        offsets = [0]
        for text in texts[:-1]:
            offsets.append(offsets[-1] + len(text) + 1)
        index = _align(start + offsets[-1] + len(texts[-1]) + 1)
        if data[index : index + 2 * NR_TOKENS] == struct.pack(f"<{NR_TOKENS}H", *offsets):
            return start, texts
        digits = data.find(DIGITS, digits + 1)
    return 0, []


def _candidates(data, tokens_at):
    """Yield (start, length) of what may be the markers: numbers that rise from 0 on, by what 256
    names can take.
    """
    for start in range(tokens_at - 16, max(tokens_at - MOST_BETWEEN, 0), -8):
        if struct.unpack_from("<I", data, start)[0] != 0:
            continue
        length, before = 1, 0
        while True:
            (here,) = struct.unpack_from("<I", data, start + 4 * length)
            if not NAMES_PER_MARKER < here - before < NAMES_PER_MARKER * LONGEST_NAME:
                break
            length, before = length + 1, here
        if length >= LEAST_MARKERS:
            yield start, length


def _count_before(data, markers_at, nr_markers):
    """Return where the number of symbols is, given the markers; None if they are none."""
    last = struct.unpack_from("<I", data, markers_at + 4 * (nr_markers - 1))[0]
    for count_at in range(_align(markers_at - last) - 16, markers_at - last - (1 << 16), -8):
        count, padding = struct.unpack_from("<II", data, count_at)
        if padding == 0 and (count + NAMES_PER_MARKER - 1) // NAMES_PER_MARKER == nr_markers:
            end = _skip_names(data, count_at + 8 + last, (count - 1) % NAMES_PER_MARKER + 1)
            if _align(end) == markers_at:
                return count_at
    return None


def _skip_names(data, at, count):
    for _ in range(count):
        length, at = _length(data, at)
        at += length
    return at


def _length(data, at):
    """Return the length of a name, and where its tokens begin."""
    length = data[at]
    if length < 0x80:
        return length, at + 1
    return length & 0x7F | data[at + 1] << 7, at + 2


def _symbols(data, count_at, tokens):
    """Yield (address, name) of the code's symbols."""
    (count,) = struct.unpack_from("<I", data, count_at)
    (base,) = struct.unpack_from("<Q", data, count_at - 8)
    offsets = struct.unpack_from(f"<{count}i", data, count_at - 8 - _align(4 * count))
    is_percpu = sum(offset < 0 for offset in offsets) > count // 2
    at = count_at + 8
    for offset in offsets:
        length, at = _length(data, at)
        name = b"".join(tokens[token] for token in data[at : at + length]).decode(errors="replace")
        at += length
        if name[:1] in TEXT_KINDS and (offset < 0 or not is_percpu):
            yield _address(offset, base, is_percpu), name[1:]


def _address(offset, base, is_percpu):
    """Return a symbol's address: where the table also has per-CPU offsets, those are the positive
    ones, and the others count down from the base.
    """
    return base - 1 - offset if is_percpu else base + (offset & 0xFFFFFFFF)


def _align(value):
    return value + 7 & ~7
