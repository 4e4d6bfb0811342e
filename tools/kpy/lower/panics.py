"""What a failed check reports: a constant for each place, and up to two values from registers.

The cold block of a check hands all three to `kpy_panic`. The text has a mark where a value belongs.
A sum or difference that overflowed is given as it wrapped, because that is in a register anyway;
whoever prints gets the operand back from it and the other one. So a check costs next to nothing
where it holds.
"""

from kpy.front.types import BOOL, GuestType, is_pointer
from kpy.lower.types import register_type

UNSIGNED, SIGNED, ADDRESS = "\1", "\2", "\3"
WAS_ADDED, WAS_SUBTRACTED, SECOND_WAS_ADDED = 0x100, 0x200, 0x400  # in a shape, above the width


def mark(type_):
    """The mark for a value of a type."""
    if is_pointer(type_) or isinstance(type_, GuestType):
        return ADDRESS
    return SIGNED if getattr(type_, "signed", False) else UNSIGNED


def widen(f, register, type_, lines):
    """Make a value of 64 bits of a register, by instructions appended to `lines`."""
    kind = register_type(type_)
    if kind == "i64":
        return register
    if kind == "ptr":
        verb = "ptrtoint"
    else:
        verb = "sext" if type_ is not BOOL and type_.signed else "zext"
    wide = "%" + f.name("shown")
    lines.append(f"  {wide} = {verb} {kind} {register} to i64")
    return wide


def render(text, shape, first, second):
    """The text with its values, as the programs print it."""
    if shape & SECOND_WAS_ADDED:
        second = _cut(second - first, shape, SIGNED in text)
    elif shape:
        first = first - second if shape & WAS_ADDED else first + second
        first = _cut(first, shape, SIGNED in text)
    for value in (first, second):
        at = next((i for i, c in enumerate(text) if c in UNSIGNED + SIGNED + ADDRESS), None)
        if at is None:
            break
        text = text[:at] + _shown(text[at], value) + text[at + 1 :]
    return text


def _cut(value, shape, signed):
    """An operand of the width that the shape tells."""
    width = shape & 0xFF
    value &= (1 << width) - 1
    return value - (1 << width) if signed and value >> width - 1 else value


def _shown(sign, value):
    value &= (1 << 64) - 1
    if sign == ADDRESS:
        return hex(value)
    return str(value - (1 << 64) if sign == SIGNED and value >> 63 else value)
