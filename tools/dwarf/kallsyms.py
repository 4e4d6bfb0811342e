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

In newer kernels the names and their number come first, the offsets and their base last; and in
those that have no base, an offset counts from its own place.
"""

import contextlib
import struct
from itertools import chain

DIGITS = b"".join(b"%d\0" % digit for digit in range(10))
TOKENS, FIRST_DIGIT = 256, ord("0")
TOKEN_BYTES_MAX = 512
SYMBOLS_MIN, SYMBOLS_MAX = 1000, 1 << 20
GAP = 8  # entries by which the end of the offsets may be missed
PT_LOAD, PF_X = 1, 1


def find_symbols(image):
    """Return {name: (address, type letter)} of a kernel's ELF file; empty when it has none."""
    base = _text_start(image)
    at = -1
    while base and (at := image.find(DIGITS, at + 1)) >= 0:
        try:
            start, end, tokens = _tokens(image, at)
        except (ValueError, IndexError, struct.error):
            continue
        for layout in (_offsets_first, _names_first):
            with contextlib.suppress(ValueError, IndexError, struct.error):
                return layout(image, base, start, end, tokens)
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
    """Return where the token tables begin and end, and the tokens. Errors: ValueError, none."""
    start = digits_at
    for _ in range(FIRST_DIGIT):
        start = image.rindex(b"\0", 0, start - 1) + 1
    texts, at = [], start
    for _ in range(TOKENS):
        end = image.index(b"\0", at, at + TOKEN_BYTES_MAX)
        texts.append(image[at:end])
        at = end + 1
    index_at, expected = (at + 7) & ~7, [0]
    index = struct.unpack_from(f"<{TOKENS}H", image, index_at)
    for text in texts[:-1]:
        expected.append(expected[-1] + len(text) + 1)
    if start % 8 or list(index) != expected:
        raise ValueError("no token table")
    return start, index_at + 2 * TOKENS, texts


def _names_first(image, base, tokens_at, tokens_end, tokens):
    """Return the symbols of a newer kernel: the offsets behind the tokens tell how many there are,
    and the names begin after that number.

    Errors: ValueError, it is no such kernel.
    """
    kinds = (_before_base, _relative_to_themselves)
    for count, addresses in chain.from_iterable(kind(image, base, tokens_end) for kind in kinds):
        at = tokens_at
        while (at := image.rfind(struct.pack("<I", count), 0, at)) >= 0:
            for names_at in (at + 8, at + 4):  # aligned, and in the newest kernels not
                with contextlib.suppress(IndexError):
                    names, end = _names(image, names_at, count, tokens)
                    if end <= tokens_at:
                        return _placed(names, addresses)
    raise ValueError("no number of symbols")


def _before_base(image, base, at):
    """Yield (count, addresses) of offsets that end where the base stands, perhaps with a gap."""
    base_at = image.find(struct.pack("<Q", base), at)
    for count in ((base_at - at) // 4, (base_at - at) // 4 - 1):
        if SYMBOLS_MIN < count < SYMBOLS_MAX:
            yield count, _addresses(struct.unpack_from(f"<{count}i", image, at), base)


def _relative_to_themselves(image, base, at):
    """Yield (count, addresses) of offsets from their own places, the first one the base's; they end
    about where the addresses rise no more.
    """
    most = min(SYMBOLS_MAX, (len(image) - at) // 4)
    offsets = struct.unpack_from(f"<{most}i", image, at)
    addresses = [base - offsets[0] + 4 * i + offset for i, offset in enumerate(offsets)]
    end = next((i for i in range(1, most) if addresses[i] < addresses[i - 1]), most)
    for count in range(end, max(end - GAP, SYMBOLS_MIN), -1):
        yield count, addresses[:count]


def _offsets_first(image, base, tokens_at, _tokens_end, tokens):
    """Return the symbols of an older kernel: the nearest base and number that fit are theirs, as
    the names behind them end before the tokens.

    Errors: ValueError, it is no such kernel.
    """
    pattern, at = struct.pack("<Q", base), tokens_at
    while True:
        at = image.rindex(pattern, 0, at)
        (count,) = struct.unpack_from("<I", image, at + 8)
        if at % 8 == 0 and SYMBOLS_MIN < count < SYMBOLS_MAX:
            names, end = _names(image, at + 16, count, tokens)
            if end <= tokens_at:
                offsets_at = at - ((4 * count + 7) & ~7)
                offsets = struct.unpack_from(f"<{count}i", image, offsets_at)
                return _placed(names, _addresses(offsets, base))


def _names(image, at, count, tokens):
    """Return so many names with their types before them, and where they end."""
    names = []
    for _ in range(count):
        size, at = image[at], at + 1
        if size & 0x80:
            size, at = size & 0x7F | image[at] << 7, at + 1
        names.append(b"".join([tokens[token] for token in image[at : at + size]]).decode("latin-1"))
        at += size
    return names, at


def _addresses(offsets, base):
    """Return what offsets from a base mean: those below 0 count backwards from just below it, and
    then those above are of data of each processor, which have no address, None.
    """
    if any(offset < 0 for offset in offsets):
        return [base - 1 - offset if offset < 0 else None for offset in offsets]
    return [base + offset for offset in offsets]


def _placed(names, addresses):
    """Return the symbols of names and their addresses; of equal names, the first."""
    symbols = {}
    for name, address in zip(names, addresses, strict=True):
        if address is not None:
            symbols.setdefault(name[1:], (address, name[0]))
    return symbols
