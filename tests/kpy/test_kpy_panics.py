"""A failed check shows the values that failed it, in the JIT and in a program's own report."""

import ctypes

import kpy.jit
import pytest
from kpy.lower.panics import (
    ADDRESS,
    SECOND_WAS_ADDED,
    SIGNED,
    UNSIGNED,
    WAS_ADDED,
    WAS_SUBTRACTED,
    render,
)

CASES = {  # name: (parameters, result, expression, arguments, text)
    "index": ("a: Ptr[Array[u8, 512]], i: u64", "u8", "a[i]", (None, 600), None),
    "signed index": ("a: Ptr[Array[u8, 4]], i: i8", "u8", "a[i]", (None, -3), None),
    "slice": ("a: Ptr[Array[u8, 4]], i: u32", "u64", "len(load(a)[1:i])", (None, 5), None),
    "add": ("a: u32, b: u32", "u32", "a + b", (2**32 - 1, 1), "addition overflow: 4294967295 + 1"),
    "add literal": ("a: u16", "u16", "a + 9", (65530,), "addition overflow: 65530 + 9"),
    "add to literal": ("a: u16", "u16", "9 + a", (65530,), "addition overflow: 9 + 65530"),
    "literal minus": ("a: u64", "u64", "9 - a", (12,), "subtraction overflow: 9 - 12"),
    "minus literal": ("a: u8", "u8", "a - 9", (5,), "subtraction overflow: 5 - 9"),
    "add signed": ("a: i8, b: i8", "i8", "a + b", (100, 100), "addition overflow: 100 + 100"),
    "add negative": ("a: i64, b: i64", "i64", "a + b", (-(2**63), -1), None),
    "add widest": ("a: u64, b: u64", "u64", "a + b", (2**64 - 1, 2), None),
    "subtract": ("a: u64, b: u64", "u64", "a - b", (3, 5), "subtraction overflow: 3 - 5"),
    "subtract bytes": ("a: u8, b: u8", "u8", "a - b", (0, 255), "subtraction overflow: 0 - 255"),
    "subtract signed": ("a: i32, b: i32", "i32", "a - b", (-(2**31), 1), None),
    "multiply": ("a: u64, b: u64", "u64", "a * b", (2**33, 2**32), None),
    "multiply signed": ("a: i16, b: i16", "i16", "a * b", (-200, 200), None),
    "divide": ("a: u64, b: u64", "u64", "a // b", (77, 0), "division by zero: 77 // 0"),
    "remainder": ("a: u8, b: u8", "u8", "a % b", (77, 0), "division by zero: 77 % 0"),
    "shift": ("a: u32, b: u8", "u32", "a << b", (1, 40), "shift by 40 of a `u32`"),
    "narrow": ("a: u64", "u32", "u32(a)", (2**40,), "1099511627776 does not fit in `u32`"),
    "narrow signed": ("a: i64", "u8", "u8(a)", (-7,), "-7 does not fit in `u8`"),
    "sign": ("a: u32", "i32", "i32(a)", (2**31,), "2147483648 does not fit in `i32`"),
    "enum": ("a: u8", "State", "State(a)", (7,), "7 is no `State`"),
}  # fmt: skip
EXPECTED = {
    "index": "index 600 of 512 elements",
    "signed index": "index -3 of 4 elements",
    "multiply signed": "multiplication overflow: -200 * 200",
    "slice": "a slice up to 5 of 4 elements",
    "add negative": "addition overflow: -9223372036854775808 + -1",
    "add widest": "addition overflow: 18446744073709551615 + 2",
    "subtract signed": "subtraction overflow: -2147483648 - 1",
    "multiply": "multiplication overflow: 8589934592 * 4294967296",
}
ENUM = "@enum(u8)\nclass State:\n    IDLE = 0\n    BUSY = 1\n"


@pytest.mark.parametrize("name", CASES)
def test_values_of_a_failed_check(jit, name):
    params, result, expression, arguments, text = CASES[name]
    if name == "slice":
        expression = "len(a[1:i])"
    p = jit(f"{ENUM}def f({params}) -> {result}:\n    return {expression}\n")
    buffer = ctypes.create_string_buffer(1024)
    with pytest.raises(kpy.jit.KpyPanic) as caught:
        p.f(*(buffer if argument is None else argument for argument in arguments))
    assert caught.value.text == (text or EXPECTED[name])
    assert caught.value.line == 7


ASSERTIONS = {  # condition: (arguments of (a: u64, b: i32, p: Ptr[u8], q), text)
    "a == 4": ((3, 0), "a == 4: 3 == 4"),
    "b < -5": ((3, -2), "b < -5: -2 < -5"),
    "7 >= a": ((8, -2), "7 >= a: 7 >= 8"),
    "a != u64(b)": ((8, 8), "a != u64(b): 8 != 8"),
    "p == q": ((8, 8), "p == q: 0x1000 == 0x2000"),
    "a == 4 and b == 2": ((4, 1), "a == 4 and b == 2"),
    "not a": ((4, 1), "not a"),
    "a": ((0, 1), "a"),
    "q is None": ((0, 1), "q is None"),
    "State(b) == State.BUSY": ((0, 0), "State(b) == State.BUSY: 0 == 1"),
}


@pytest.mark.parametrize("condition", ASSERTIONS)
def test_both_sides_of_a_failed_comparison(jit, condition):
    arguments, text = ASSERTIONS[condition]
    p = jit(f"""
{ENUM}
def f(a: u64, b: i32) -> None:
    p = Ptr[u8](0x1000)
    q: Ptr[u8] | None = Ptr[u8](0x2000)
    assert {condition}
def named(a: u64) -> None:
    assert a == 4, "four it must be"
""")
    with pytest.raises(kpy.jit.KpyPanic) as caught:
        p.f(*arguments)
    assert caught.value.text == f"assertion failed: {text}"
    with pytest.raises(kpy.jit.KpyPanic, match="four it must be: 5 == 4"):
        p.named(5)


SITES = [  # text, shape, first, second
    ("plain", 0, 1, 2),
    (f"index {UNSIGNED} of {UNSIGNED} elements", 0, 600, 512),
    (f"{SIGNED} and {SIGNED}", 0, 2**64 - 1, 1 << 63),
    (f"{UNSIGNED}", 0, 2**64 - 1, 0),
    (f"{ADDRESS} == {ADDRESS}", 0, 0xFFFF82D040000000, 0),
    (f"{UNSIGNED} + {UNSIGNED}", WAS_ADDED | 32, 0, 1),
    (f"{UNSIGNED} + {UNSIGNED}", WAS_ADDED | 64, 1, 2),
    (f"{SIGNED} + {SIGNED}", WAS_ADDED | 8, 2**64 - 56, 100),
    (f"{UNSIGNED} - {UNSIGNED}", WAS_SUBTRACTED | 8, 1, 255),
    (f"{UNSIGNED} + {UNSIGNED}", SECOND_WAS_ADDED | 16, 9, 3),
    (f"{SIGNED} + {SIGNED}", SECOND_WAS_ADDED | 8, 100, 2**64 - 56),
    (f"{SIGNED} - {SIGNED}", WAS_SUBTRACTED | 64, (1 << 63) - 1, 1),
]


@pytest.fixture(scope="module")
def report():
    return kpy.jit.load("linetable.panic_text")


@pytest.mark.parametrize("site", SITES)
def test_programs_print_the_same(report, site):
    from linetable.panic_text import PanicSite, PanicText

    text, shape, first, second = site
    made = report.new(PanicSite, text=text.encode(), shape=shape, line=5)
    shown = report.panic_text(report.new(PanicText), made, first, second)
    assert bytes(shown).decode() == render(text, shape, first, second)


def test_a_text_that_is_too_long_is_cut(report):
    from linetable.panic_text import TEXT_BYTES, PanicSite, PanicText

    made = report.new(PanicSite, text=b"x" * 300 + b"\1", shape=0)
    assert bytes(report.panic_text(report.new(PanicText), made, 1, 2)) == b"x" * TEXT_BYTES


def test_marks_are_the_same_on_both_sides():
    from linetable import panic_text as program

    marks = (program.UNSIGNED, program.SIGNED, program.ADDRESS)
    assert marks == (ord(UNSIGNED), ord(SIGNED), ord(ADDRESS))
    shapes = (program.WAS_ADDED, program.WAS_SUBTRACTED, program.SECOND_WAS_ADDED)
    assert shapes == (WAS_ADDED, WAS_SUBTRACTED, SECOND_WAS_ADDED)


def test_a_check_costs_nothing_where_it_holds(module, monkeypatch):
    """The values go to the cold block as they are: where the check holds, it is one compare and one
    branch.
    """
    from kpy.emit import backend
    from kpy.front import modules
    from kpy.front.program import Program
    from kpy.lower.unit import Unit

    name = module("""
        def add(a: u32, b: u32) -> u32:
            return a + b
        def get(a: Ptr[Array[u64, 512]], i: u64) -> u64:
            return a[i]
        def narrow(a: u64) -> u32:
            return u32(a)
    """)
    program = Program()
    loaded = modules.load(program, name)
    unit = Unit(program, name)
    for instance in modules.declared_instances(program, loaded):
        unit.function(instance)
    listing = backend.compile_assembly(unit.finish(), "x86_64-unknown-none-elf")
    for function, count in (("add", 3), ("get", 3), ("narrow", 4)):
        body = (
            listing.partition(f'"{name}.{function}":')[2]
            or listing.partition(f"{name}.{function}:")[2]
        )
        hot = body.partition("retq")[0]
        code = [line.split("#")[0].strip() for line in hot.splitlines() if line.startswith("\t")]
        code = [line for line in code if line and not line.startswith(".")]
        assert len(code) == count, code
