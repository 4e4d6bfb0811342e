"""The JIT itself: replacements, exceptions across compiled frames, views."""

import pytest
from kpy.jit import NotReplaced

CPU = """
cr3 = static(u64)
@struct
class Pair:
    low: u32
    high: u32
@asm("mov $0, cr3", "=r")
def read_cr3() -> u64: ...
@extern
def entry_stub(x: u64) -> u64: ...
def split(x: u64) -> Pair:
    return Pair(low=truncate(u32, x), high=u32(x >> 32))
def both(x: u64) -> tuple[bool, u64]:
    return x > 1, x
def sum(s: Slice[u16]) -> u16:
    total: u16 = 0
    for x in s:
        total += x
    return total
def use_cr3() -> u64:
    return read_cr3() & ~0xfff
def use_stub(x: u64) -> u64:
    return entry_stub(x) + 1
def use_split(x: u64) -> u32:
    p = split(x)
    return p.low + p.high
def use_both(x: u64) -> u64:
    big, value = both(x)
    return value if big else 0
def use_sum(n: u8) -> u16:
    data: Array[u16, 3] = [1, 2, u16(n)]
    return sum(data[:])
def deep(x: u64) -> u64:
    return use_stub(x) * 2
"""


@pytest.fixture
def load(module):
    """Load the program above with replacements, by their short names."""
    import kpy.jit

    def load(**replace):
        name = module(CPU)
        return kpy.jit.load(name, replace={f"{name}.{k}": v for k, v in replace.items()})

    return load


def test_replacements_take_and_give_every_type(load):
    p = load(
        read_cr3=lambda: 0x1234,
        entry_stub=lambda x: x * 10,
        split=lambda x: {"low": 5, "high": x},
        both=lambda x: (True, x + 1),
        sum=lambda s: len(s) + s[2],
    )
    assert p.use_cr3() == 0x1000
    assert p.use_stub(4) == 41
    assert p.use_split(7) == 12
    assert p.use_both(0) == 1
    assert p.use_sum(9) == 12


def test_a_compiled_function_may_stand_for_another(module):
    import kpy.jit

    name = module(CPU + "\n\ndef quiet_cr3() -> u64:\n    return 0x5678\n")
    p = kpy.jit.load(name, replace={f"{name}.read_cr3": f"{name}.quiet_cr3"})
    assert p.use_cr3() == 0x5000
    with pytest.raises(ValueError, match="has not the parameters"):
        kpy.jit.load(name, replace={f"{name}.read_cr3": f"{name}.entry_stub"})


def test_an_assembly_function_must_be_replaced(load):
    p = load()
    with pytest.raises(NotReplaced, match="entry_stub"):
        p.deep(3)
    assert p.use_split(7 << 32 | 1) == 8


def test_exceptions_of_replacements_pass_through_compiled_code(load):
    def fail(x):
        raise KeyError(x)

    p = load(entry_stub=fail)
    for number in (5, 6):
        with pytest.raises(KeyError, match=str(number)):
            p.deep(number)


def test_a_panic_below_a_replacement_ends_in_the_outer_call(load, panics):
    inner = load()

    def call_back(x):
        return inner.use_sum(300 - x)

    p = load(entry_stub=call_back)
    assert p.deep(299) == 10
    with pytest.raises(OverflowError):
        p.deep(0)
    assert p.deep(299) == 10


def test_unknown_replacements_are_reported(module):
    import kpy.jit

    with pytest.raises(ValueError, match="read_cr4"):
        name = module(CPU)
        kpy.jit.load(name, replace={f"{name}.read_cr4": lambda: 0})


def test_views(load):
    import sys

    p = load()
    pair = p.new(sys.modules[p._module].Pair, low=3)
    pair.high = 9
    assert (pair.low, pair.high) == (3, 9)
    assert bytes(pair) == bytes([3, 0, 0, 0, 9, 0, 0, 0])
    pair.ref("low").value = 4
    assert pair.low == 4
    with pytest.raises(OverflowError):
        pair.low = 1 << 32
    with pytest.raises(AttributeError):
        _ = pair.middle
