"""The text of a failed check, with the values that failed it.

The compiler puts a mark into the text where a value belongs. Nothing is trusted, and nothing here
can fail: what does not fit is dropped.
"""

from kpy import (
    Array,
    Ptr,
    Slice,
    i64,
    struct,
    truncate,
    u8,
    u32,
    u64,
    uninitialized,
    wrapping_add,
    wrapping_sub,
)

UNSIGNED, SIGNED, ADDRESS = 1, 2, 3  # the marks
WAS_ADDED, WAS_SUBTRACTED, SECOND_WAS_ADDED = 0x100, 0x200, 0x400  # in a shape, above the width
WIDTH_MASK = 0x7F
TEXT_BYTES = 192
DIGITS = b"0123456789abcdef"
MINUS, ZERO, LETTER_X = ord("-"), ord("0"), ord("x")


@struct
class PanicSite:
    """What the compiler knows of a check: the constant that it hands to `kpy_panic`."""

    file: Slice[u8]
    line: u32
    shape: u32  # not 0: one value is a sum or difference as it wrapped; width of the operands
    text: Slice[u8]


@struct
class PanicText:
    bytes: Array[u8, TEXT_BYTES]
    length: u64

    def put(self, character: u8) -> None:
        if self.length < TEXT_BYTES:
            self.bytes[self.length] = character
            self.length += 1

    def put_number(self, value: u64, base: u64) -> None:
        digits = uninitialized(Array[u8, 24])
        count: u64 = 0
        rest = value
        while count == 0 or rest != 0:
            digits[count] = DIGITS[rest % base]
            count += 1
            rest //= base
        while count > 0:
            count -= 1
            self.put(digits[count])

    def put_value(self, value: u64, mark: u8) -> None:
        """Put a value as its mark says."""
        if mark == ADDRESS:
            self.put(ZERO)
            self.put(LETTER_X)
            self.put_number(value, 16)
        elif mark == SIGNED and value >> 63 != 0:
            self.put(MINUS)
            self.put_number(wrapping_sub(0, value), 10)
        else:
            self.put_number(value, 10)


def panic_text(text: Ptr[PanicText], site: Ptr[PanicSite], first: u64, second: u64) -> Slice[u8]:
    """Write the site's text with its values; return it."""
    text.length = 0
    value, onward = operands(site, first, second)
    for character in site.text:
        if UNSIGNED <= character <= ADDRESS:
            text.put_value(value, character)
            value = onward
        else:
            text.put(character)
    return text.bytes[0 : text.length]


def operands(site: Ptr[PanicSite], first: u64, second: u64) -> tuple[u64, u64]:
    """Return the values; instead of a sum or difference the operand that it was made of."""
    if site.shape & SECOND_WAS_ADDED != 0:
        return first, cut(site, wrapping_sub(second, first))
    if site.shape & WAS_ADDED != 0:
        return cut(site, wrapping_sub(first, second)), second
    if site.shape & WAS_SUBTRACTED != 0:
        return cut(site, wrapping_add(first, second)), second
    return first, second


def cut(site: Ptr[PanicSite], value: u64) -> u64:
    """Return an operand in the width that the shape tells, its sign spread over the rest."""
    unused = 64 - u64(site.shape & WIDTH_MASK)
    if has_mark(site.text, SIGNED):
        return truncate(u64, truncate(i64, value << unused) >> unused)
    return value << unused >> unused


def has_mark(text: Slice[u8], mark: u8) -> bool:
    for character in text:
        if character == mark:
            return True
    return False
