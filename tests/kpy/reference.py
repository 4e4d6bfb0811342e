"""A plain-Python meaning of kernel Python's integers: the same source, run by CPython on these.

`Int` knows its type and panics as compiled code must. It is the living definition that random
programs are compared with.
"""

import builtins


class Panic(Exception):
    """What compiled code reports as a panic."""


class Int:
    """A checked integer of a fixed width."""

    def __init__(self, type_, value):
        self.type, self.value = type_, value

    def __repr__(self):
        return f"{self.type.name}({self.value})"

    def _other(self, other):
        return other.value if isinstance(other, Int) else other

    def _checked(self, value):
        if not self.type.fits(value):
            raise Panic("overflow")
        return Int(self.type, value)

    def _cut(self, value):
        return Int(self.type, self.type.cut(value))

    def __add__(self, other):
        return self._checked(self.value + self._other(other))

    def __sub__(self, other):
        return self._checked(self.value - self._other(other))

    def __mul__(self, other):
        return self._checked(self.value * self._other(other))

    def __floordiv__(self, other):
        divisor = self._other(other)
        if divisor == 0:
            raise Panic("division by zero")
        quotient = builtins.abs(self.value) // divisor
        return Int(self.type, -quotient if self.value < 0 else quotient)

    def __mod__(self, other):
        quotient = self // other
        return Int(self.type, self.value - quotient.value * self._other(other))

    def __lshift__(self, other):
        return self._cut(self.value << self._count(other))

    def __rshift__(self, other):
        return Int(self.type, self.value >> self._count(other))

    def _count(self, other):
        count = self._other(other)
        if not 0 <= count < self.type.bits:
            raise Panic("shift count too large")
        return count

    def __and__(self, other):
        return self._cut(self.value & self._other(other))

    def __or__(self, other):
        return self._cut(self.value | self._other(other))

    def __xor__(self, other):
        return self._cut(self.value ^ self._other(other))

    def __invert__(self):
        return self._cut(~self.value)

    def __neg__(self):
        return self._checked(-self.value)

    def __eq__(self, other):
        return self.value == self._other(other)

    def __lt__(self, other):
        return self.value < self._other(other)

    def __le__(self, other):
        return self.value <= self._other(other)

    def __gt__(self, other):
        return self.value > self._other(other)

    def __ge__(self, other):
        return self.value >= self._other(other)

    def __hash__(self):
        return hash(self.value)

    def __bool__(self):
        return self.value != 0

    def __index__(self):
        return self.value


class IntType:
    """`u8(x)`: a checked conversion."""

    def __init__(self, name):
        self.name, self.signed, self.bits = name, name[0] == "i", int(name[1:])
        self.low = -(1 << self.bits - 1) if self.signed else 0
        self.high = (1 << self.bits - self.signed) - 1

    def fits(self, value):
        return self.low <= value <= self.high

    def cut(self, value):
        value &= (1 << self.bits) - 1
        return value - (1 << self.bits) if self.signed and value > self.high else value

    def __call__(self, value):
        number = int(value)
        if not self.fits(number):
            raise Panic("does not fit")
        return Int(self, number)


TYPES = {name: IntType(name) for name in ("u8", "u16", "u32", "u64", "i8", "i16", "i32", "i64")}


class Array:
    """A zeroed local array."""

    def __init__(self, element, count):
        self.items = [Int(element, 0) for _ in builtins.range(count)]

    def _index(self, index):
        number = int(index)
        if not 0 <= number < builtins.len(self.items):
            raise Panic("index out of range")
        return number

    def __getitem__(self, index):
        return self.items[self._index(index)]

    def __setitem__(self, index, value):
        element = self.items[0].type
        self.items[self._index(index)] = value if isinstance(value, Int) else Int(element, value)


class ArrayMaker:
    def __getitem__(self, key):
        return lambda: Array(*key)


def _range(stop):
    return (Int(stop.type, i) for i in builtins.range(stop.value))


NAMES = {
    **TYPES,
    "Array": ArrayMaker(),
    "truncate": lambda type_, x: Int(type_, type_.cut(int(x))),
    "wrapping_add": lambda a, b: a._cut(a.value + b.value),
    "wrapping_sub": lambda a, b: a._cut(a.value - b.value),
    "wrapping_mul": lambda a, b: a._cut(a.value * b.value),
    "saturating_sub": lambda a, b: Int(
        a.type, builtins.max(a.type.low, builtins.min(a.type.high, a.value - b.value))
    ),
    "min": lambda a, b: b if b < a else a,
    "max": lambda a, b: b if b > a else a,
    "popcount": lambda a: Int(a.type, (a.value & (1 << a.type.bits) - 1).bit_count()),
    "range": _range,
}
