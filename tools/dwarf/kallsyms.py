"""A Linux kernel's own table of symbols (kallsyms), for a file that has no other.

Distributions strip their kernels, but a kernel carries the names of its functions for its own
reports. Up to Linux 6.3 the tables lie in memory one behind the other, each aligned to 8 bytes:

    offsets        i32[n]; an address is relative_base - 1 - offset, or one of per-CPU data, >= 0
    relative_base  u64, where the kernel's text begins
    n              u32
    names          n times a length and that many tokens; the first character is the type
    ...            indices into the names
    token_table    256 texts, each ended by 0; those of the digits are the digits
    token_index    u16[256]: where each text begins
"""

import struct

DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
TOKENS, FIRST_DIGIT = 256, ord("0")
TOKEN_BYTES_MAX = 512
SYMBOLS_MIN, SYMBOLS_MAX = 1000, 1 << 20
PT_LOAD, PF_X = 1, 1


def find_symbols(image):
    """Return {name: (address, type letter)} of a kernel's ELF file; empty when it has none."""
    base = _text_start(image)
    at = -1
    while base and (at := image.find(DIGITS, at + 1)) >= 0:
        try:
            start, tokens = _tokens(image, at)
            return _symbols(image, base, start, tokens)
        except (ValueError, IndexError, struct.error):
            continue
    return {}


def _text_start(image):
    """Return the address at which the kernel's code begins, None if this is no 64-bit ELF file."""
    if image[:5] != b"\x7fELF\2" or len(image) < 64:
        return None
    at, size, count = (
        struct.unpack_from(form, image, offset)[0]
        for form, offset in (("<Q", 32), ("<H", 54), ("<H", 56))
    )
    for index in range(count):
        try:
            kind, flags, _, address = struct.unpack_from("<IIQQ", image, at + index * size)
        except struct.error:
            return None
        if kind == PT_LOAD and flags & PF_X:
            return address
    return None


def _tokens(image, digits_at):
    """Return where the token table begins, and the tokens. Errors: ValueError, it is none."""
    start = digits_at
    for _ in range(FIRST_DIGIT):
        start = image.rindex(b"\0", 0, start - 1) + 1
    texts, at = [], start
    for _ in range(TOKENS):
        end = image.index(b"\0", at, at + TOKEN_BYTES_MAX)
        texts.append(image[at:end])
        at = end + 1
    index, expected = struct.unpack_from(f"<{TOKENS}H", image, (at + 7) & ~7), [0]
    for text in texts[:-1]:
        expected.append(expected[-1] + len(text) + 1)
    if start % 8 or list(index) != expected:
        raise ValueError("no token table")
    return start, texts


def _symbols(image, base, tokens_at, tokens):
    """Find the base and the count that stand before the names. Errors: ValueError, there are none.

    The nearest that fits is theirs: its names end before the tokens.
    """
    pattern, at = struct.pack("<Q", base), tokens_at
    while True:
        at = image.rindex(pattern, 0, at)
        (count,) = struct.unpack_from("<I", image, at + 8)
        if at % 8 == 0 and SYMBOLS_MIN < count < SYMBOLS_MAX:
            symbols, end = _decode(image, at + 16, base, count, tokens)
            if end <= tokens_at:
                return symbols


def _decode(image, names_at, base, count, tokens):
    """Return the symbols, and where the names end."""
    offsets_at = names_at - 16 - ((4 * count + 7) & ~7)
    offsets = struct.unpack_from(f"<{count}i", image, offsets_at)
    symbols, at = {}, names_at
    for offset in offsets:
        size, at = image[at], at + 1
        if size & 0x80:
            size, at = size & 0x7F | image[at] << 7, at + 1
        text = b"".join([tokens[token] for token in image[at : at + size]]).decode("latin-1")
        at += size
        if offset < 0:
            symbols.setdefault(text[1:], (base - 1 - offset, text[0]))
    return symbols, at
