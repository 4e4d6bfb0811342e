"""Integers: overflow, conversions, bits, newtypes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

U64 = (1 << 64) - 1

ARITHMETIC = """
def add(a: u8, b: u8) -> u8:
    return a + b
def sub(a: u64, b: u64) -> u64:
    return a - b
def mul(a: i32, b: i32) -> i32:
    return a * b
def divide(a: u64, b: u64) -> tuple[u64, u64]:
    return a // b, a % b
def negate(a: i8) -> i8:
    return -a
def shift_left(a: u32, n: u64) -> u32:
    return a << n
def shift_right(a: i32, n: u8) -> i32:
    return a >> n
def halve(a: i64) -> i64:
    return a // 2
def mix(a: u16, b: u16) -> u16:
    return (a & b) | (a ^ ~b)
"""


def test_overflow_panics(jit, panics):
    p = jit(ARITHMETIC)
    assert p.add(200, 55) == 255
    panics("addition overflow: 200 + 56", p.add, 200, 56)
    assert p.sub(5, 5) == 0
    panics("subtraction overflow: 5 - 6", p.sub, 5, 6)
    assert p.mul(-1000, 2000) == -2_000_000
    panics("multiplication overflow: 1048576 * 2048", p.mul, 1 << 20, 1 << 11)
    panics("subtraction overflow: 0 - -128", p.negate, -128)
    assert p.negate(-127) == 127


def test_division_and_shifts(jit, panics):
    p = jit(ARITHMETIC)
    assert p.divide(17, 5) == (3, 2)
    panics("division by zero: 1 // 0", p.divide, 1, 0)
    assert p.shift_left(0x80000001, 1) == 2
    panics("shift by 32 of a `u32`", p.shift_left, 1, 32)
    panics("shift by 1099511627776 of a `u32`", p.shift_left, 1, 1 << 40)
    assert p.shift_right(-8, 1) == -4
    assert p.halve(-7) == -3
    assert p.mix(0xFF00, 0x0FF0) == (0xFF00 & 0x0FF0) | (0xFF00 ^ (0x0FF0 ^ 0xFFFF))


def test_wrapping_and_checked(jit):
    p = jit("""
        def wrap(a: u8, b: u8) -> tuple[u8, u8, u8]:
            return wrapping_add(a, b), wrapping_sub(a, b), wrapping_mul(a, b)
        def saturate(a: u64, b: u64) -> u64:
            return saturating_sub(a, b)
        def checked(a: u64, b: u64) -> tuple[u64, bool]:
            total, over = checked_add(a, b)
            less, under = checked_sub(total, 1)
            twice, big = checked_mul(less, 2)
            return twice, over or under or big
    """)
    assert p.wrap(200, 100) == (44, 100, 32)
    assert p.wrap(1, 2) == (3, 255, 2)
    assert p.saturate(3, 5) == 0
    assert p.checked(3, 5) == (14, False)
    assert p.checked(U64, 5)[1] is True


CONVERSIONS = """
def to_u8(a: u64) -> u8:
    return u8(a)
def signed_to_u64(a: i32) -> u64:
    return u64(a)
def to_i8(a: i64) -> i8:
    return i8(a)
def u64_to_i64(a: u64) -> i64:
    return i64(a)
def i64_to_u8(a: i64) -> u8:
    return u8(a)
def cut(a: i64) -> u8:
    return truncate(u8, a)
def spread(a: i8) -> u64:
    return truncate(u64, a)
def flag(a: u64) -> u64:
    return u64(a > 3) + u64(bool(a))
"""


@pytest.fixture
def conversions(jit):
    return jit(CONVERSIONS)


def test_checked_conversions(conversions, panics):
    p = conversions
    assert p.to_u8(255) == 255
    panics("does not fit in `u8`", p.to_u8, 256)
    panics("does not fit in `u64`", p.signed_to_u64, -1)
    assert p.to_i8(-128) == -128
    panics("does not fit in `i8`", p.to_i8, 128)
    panics("does not fit in `i64`", p.u64_to_i64, 1 << 63)
    panics("does not fit in `u8`", p.i64_to_u8, -1)
    panics("does not fit in `u8`", p.i64_to_u8, 256)
    assert p.i64_to_u8(255) == 255


def test_truncation_keeps_low_bits(conversions):
    assert conversions.cut(-1) == 255
    assert conversions.spread(-1) == U64
    assert conversions.flag(4) == 2
    assert conversions.flag(1) == 1
    assert conversions.flag(0) == 0


def test_bits(jit):
    p = jit("""
        def bits(x: u32) -> tuple[u32, u32, u32, u32]:
            return popcount(x), clz(x), ctz(x), bswap(x)
        def flag(n: u8) -> u64:
            return bit(n) | bit(0)
        def mask(x: u64) -> u64:
            return x & ~0xfff
        LOW = ~0xff
        def mask_by_name(x: u32) -> u32:
            return x & LOW
        def clear(x: u32, n: u32) -> u32:
            x &= ~(1 << n)
            return x
    """)
    assert p.bits(0x00F0) == (4, 24, 4, 0xF0000000)
    assert p.bits(0) == (0, 32, 32, 0)
    assert p.flag(63) == (1 << 63) | 1
    assert p.mask(0x12345) == 0x12000
    assert p.mask_by_name(0x1FF) == 0x100
    assert p.clear(0xF, 2) == 0xB


def test_newtypes(jit):
    p = jit("""
        Mfn = newtype("Mfn", u64)
        NONE = Mfn((1 << 64) - 1)
        def step(m: Mfn) -> Mfn:
            return m + 1
        def distance(a: Mfn, b: Mfn) -> u64:
            return b - a
        def is_none(m: Mfn) -> bool:
            return m == NONE
        def compare(a: Mfn, b: Mfn) -> bool:
            return a < b and a != 5
        def through(x: u32) -> Mfn:
            return Mfn(x) - 1
        def span(low: Mfn, high: Mfn) -> u64:
            n: u64 = 0
            for m in range(low, high):
                n += u64(m)
            return n
    """)
    assert p.step(4) == 5
    assert p.distance(4, 9) == 5
    assert p.is_none(U64) is True
    assert p.compare(4, 9) is True
    assert p.compare(5, 9) is False
    assert p.through(8) == 7
    assert p.span(3, 6) == 12


def test_min_max_and_chains(jit):
    p = jit("""
        def clamp(x: u64, low: u64, high: u64) -> u64:
            return min(max(x, low), high)
        def signed(a: i32) -> i32:
            return max(a, -5)
        def inside(x: i64) -> bool:
            return -10 <= x < 10
        def one_of(x: u16) -> bool:
            return x in (1, 5, 9) and x not in (5,)
        SET = (2, 4)
        def named(x: u16) -> bool:
            return x in SET
    """)
    assert [p.clamp(x, 5, 9) for x in (1, 7, 20)] == [5, 7, 9]
    assert p.signed(-9) == -5
    assert [p.inside(x) for x in (-11, -10, 9, 10)] == [False, True, True, False]
    assert [p.one_of(x) for x in (1, 5, 9, 2)] == [True, False, True, False]
    assert p.named(4) is True


@pytest.fixture(scope="module")
def calculator(tmp_path_factory):
    import sys

    import kpy.jit

    folder = tmp_path_factory.mktemp("calculator")
    (folder / "calculator.py").write_text("from kpy import *\n" + ARITHMETIC)
    sys.path.insert(0, str(folder))
    yield kpy.jit.load("calculator")
    sys.path.remove(str(folder))


@given(st.integers(-(2**31), 2**31 - 1), st.integers(-(2**31), 2**31 - 1))
def test_multiplication_agrees_with_python(calculator, a, b):
    import kpy.jit

    try:
        assert calculator.mul(a, b) == a * b
    except kpy.jit.KpyPanic:
        assert not -(2**31) <= a * b < 2**31


FLAGS = """
READ = 1
WRITE = 2
BLOCKED = u32(4)
OTHERS = ~BLOCKED
BOTH = BLOCKED | READ
KNOWN = {READ, WRITE}
@struct
class Entry:
    flags: u16
    wide: u32
assert BOTH == 5 and OTHERS == 0xFFFFFFFB
word = static(u16, 0xFF)
def take(flags: u16) -> u16:
    return flags
def argument() -> u16:
    return take(~READ)
def result() -> u16:
    return ~(READ | WRITE)
def assigned() -> u8:
    x: u8 = ~WRITE
    return x
def augmented(x: u16) -> u16:
    x &= ~READ
    return x
def constructed() -> u32:
    e = Entry(flags=~READ, wide=~WRITE)
    return u32(e.flags) + (e.wide >> 16)
def atomic() -> u16:
    atomic_and(ref(word), ~READ)
    atomic_store(ref(word), atomic_load(ref(word)) & ~WRITE)
    _, done = atomic_cas(ref(word), 0xFC, ~READ)
    assert done
    return atomic_xchg(ref(word), ~WRITE)
def compared(x: u16) -> bool:
    return x == ~READ
def chosen(wide: bool) -> u64:
    x = ~READ if wide else ~WRITE
    return x
def chosen_narrow(c: bool) -> u16:
    return ~READ if c else 0
def matched(x: u8) -> bool:
    match x:
        case 0xFE:
            return x == ~READ
        case _:
            return False
def typed_flags(x: u32) -> u32:
    return x & ~BLOCKED & OTHERS | BOTH
def typed_argument(x: u32) -> u32:
    y: u32 = OTHERS
    return typed_flags(~BLOCKED) & y
def in_code(x: u32) -> bool:
    return x in (BLOCKED, BOTH)
"""


def test_flags_and_their_complements(jit):
    p = jit(FLAGS)
    assert p.argument() == 0xFFFE
    assert p.result() == 0xFFFC
    assert p.assigned() == 0xFD
    assert p.augmented(7) == 6
    assert p.constructed() == 0xFFFE + 0xFFFF
    assert p.atomic() == 0xFFFE
    assert [p.compared(x) for x in (0xFFFE, 1)] == [True, False]
    assert [p.chosen(True), p.chosen(False)] == [2**64 - 2, 2**64 - 3]
    assert [p.chosen_narrow(True), p.chosen_narrow(False)] == [0xFFFE, 0]
    assert [p.matched(0xFE), p.matched(1)] == [True, False]
    assert p.typed_flags(0xFF) == 0xFB | 5
    assert p.typed_argument(0) == 0xFFFFFFFB | 1 & 0xFFFFFFFB
    assert p.in_code(5)


def test_a_complement_must_fit_and_a_typed_flag_keeps_its_type(errors):
    for line, message in (
        ("y: u8 = ~0x100", "does not fit in `u8`"),
        ("y: u16 = -2", "does not fit in `u16`"),
        ("y: u16 = ~BLOCKED", "expected `u16` (the type of `y`, from line"),
        ("y: u16 = OTHERS", "expected `u16`"),
    ):
        shown = errors(f"{FLAGS}def f() -> None:\n    {line}\n")
        assert message in shown, shown
        assert shown.count("error:") == 1
