"""Text in fixed buffers: numbers to digits, digits to numbers, comparison. There is no string type
and no allocation.
"""

from kpy import Array, Slice, struct, u8, u32, u64, uninitialized

TEXT_BYTES = 512
DIGITS = b"0123456789abcdef"
STYLE_PREFIX = 0x100
STYLE_ZERO = 0x200
ZERO, NINE, MINUS, SPACE = ord("0"), ord("9"), ord("-"), ord(" ")
A, F, LOWER_CASE = ord("a"), ord("f"), 0x20
NOT_A_DIGIT = 255


@struct
class Text:
    """Up to TEXT_BYTES bytes; what does not fit is dropped. After `finish` the next piece starts
    anew.
    """

    bytes: Array[u8, TEXT_BYTES]
    length: u64
    finished: bool

    def put(self, character: u8) -> None:
        if self.finished:
            self.finished = False
            self.length = 0
        if self.length < TEXT_BYTES:
            self.bytes[self.length] = character
            self.length += 1

    def put_text(self, text: Slice[u8]) -> None:
        for character in text:
            self.put(character)

    def put_number(self, value: u64, negative: bool, style: u32) -> None:
        """Args: style: base | width << 16 | 0x100 for a 0x prefix | 0x200 to pad with zeros."""
        digits = uninitialized(Array[u8, 24])
        base, rest = u64(style & 0xFF), value
        count: u64 = 0
        while count == 0 or rest != 0:
            digits[count] = DIGITS[rest % base]
            count += 1
            rest //= base
        if negative:
            self.put(MINUS)
        if style & STYLE_PREFIX != 0:
            self.put_text(b"0x")
        used = count + u64(negative) + (2 if style & STYLE_PREFIX != 0 else 0)
        while used < u64(style >> 16):
            self.put(ZERO if style & STYLE_ZERO != 0 else SPACE)
            used += 1
        while count > 0:
            count -= 1
            self.put(digits[count])

    def finish(self) -> Slice[u8]:
        self.finished = True
        return self.bytes[0 : self.length]


def same_text(a: Slice[u8], b: Slice[u8]) -> bool:
    if len(a) != len(b):
        return False
    for i in range(len(a)):
        if a[i] != b[i]:
            return False
    return True


def parse_number(text: Slice[u8], base: u64) -> u64:
    """Return the number that a text begins with, in a base up to 16; 0 if none."""
    value: u64 = 0
    for character in text:
        digit = digit_of(character)
        if digit >= base:
            break
        value = value * base + digit
    return value


def digit_of(character: u8) -> u64:
    """Return what a digit stands for, in either case; NOT_A_DIGIT for any other character."""
    if ZERO <= character <= NINE:
        return u64(character - ZERO)
    lower = character | LOWER_CASE
    return u64(lower - A) + 10 if A <= lower <= F else NOT_A_DIGIT
