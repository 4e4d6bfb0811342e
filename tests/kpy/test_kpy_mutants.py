"""Mutant schemata: what counts as a check, and what switching one off changes."""

import faulthandler
import os
import signal

import kpy.jit
import pytest

GUARDS = """
TYPE_BUSY = 1
@struct
class Thing:
    owner: u32
def limits(x: u64) -> i64:
    require(x != 0 and not x > 10, -22)
    return 0
def chain(x: u64) -> i64:
    if x == 1 or x == 2:
        return -1
    elif x == 3:
        return -3
    return i64(x)
def owner_of(p: Ptr[Thing] | None) -> u32:
    if p is None:
        return TYPE_BUSY
    return p.owner
def inner(x: u64) -> i64:
    return i64(x) * 16 - 128  # -EBUSY for 7
def passes_on(x: u64) -> i64:
    result = inner(x)
    if result != 0:
        return result
    return 5
def lifted(x: u64) -> i64:
    result: i64 = -1
    if x == 4:
        result = 4
    return result
def late(x: u64) -> i64:
    result: i64 = 0
    if x == 4:
        result = -4
    return result
def chosen(x: u64) -> i64:
    return 6 if x != 6 and x != 7 else -6
def preferred(x: u64) -> i64:
    result = -7 if x == 7 else inner(8)
    return result
def is_right(x: u64) -> bool:
    if x == 1 and x != 0:
        return True
    return False
def is_good(x: u64) -> bool:
    return x != 1 and x != 2
def find(x: u64) -> u64:
    for i in range(u64(4)):
        if i == x:
            return i * 10
    return 99
def same_twice(x: u64) -> bool:
    if x == 1:
        return False
    if x == 1:
        return False
    return True
"""


@pytest.fixture
def mutated(module):
    name = module(GUARDS)
    return kpy.jit.load(name, mutants=(name,))


def texts(program, function):
    return [check.text for check in program.checks if check.function == function]


def test_what_counts_as_a_check(mutated):
    """Refusals and the operands of their conditions; no ordinary branch, no found result."""
    assert texts(mutated, "limits") == [
        "require(x != 0, -22)",
        "require(not x > 10, -22)",
    ]
    assert texts(mutated, "chain") == [
        "if x == 1: return -1",
        "if x == 2: return -1",
        "if x == 3: return -3",
    ]
    assert texts(mutated, "owner_of") == ["if p is None: return TYPE_BUSY"]
    assert texts(mutated, "passes_on") == ["if result != 0: return result"]
    assert texts(mutated, "lifted") == ["if x == 4: result = …"]
    assert texts(mutated, "late") == ["if x == 4: result = -4"]
    assert texts(mutated, "chosen") == ["… if x != 6 else -6", "… if x != 7 else -6"]
    assert texts(mutated, "preferred") == ["-7 if x == 7 else …"]
    assert texts(mutated, "is_right") == ["if x == 1: return True", "if x != 0: return True"]
    assert texts(mutated, "is_good") == ["return … and x != 1", "return … and x != 2"]
    assert texts(mutated, "find") == []
    assert texts(mutated, "same_twice") == [
        "if x == 1: return False",
        "if x == 1: return False (#2)",
    ]
    line = next(c.line for c in mutated.checks if c.function == "owner_of")
    assert GUARDS.strip().splitlines()[line - 2] == "    if p is None:"


CALLS = [
    ("limits", 0, "require(x != 0, -22)", -22, 0),
    ("limits", 11, "require(not x > 10, -22)", -22, 0),
    ("chain", 2, "if x == 2: return -1", -1, 2),
    ("chain", 3, "if x == 3: return -3", -3, 3),
    ("passes_on", 7, "if result != 0: return result", -16, 5),
    ("lifted", 9, "if x == 4: result = …", -1, 4),
    ("late", 4, "if x == 4: result = -4", -4, 0),
    ("chosen", 7, "… if x != 7 else -6", -6, 6),
    ("preferred", 7, "-7 if x == 7 else …", -7, 0),
    ("is_right", 3, "if x == 1: return True", False, True),
    ("is_good", 2, "return … and x != 2", False, True),
]


@pytest.mark.parametrize(("function", "argument", "text", "on", "off"), CALLS)
def test_one_check_at_a_time(mutated, function, argument, text, on, off):
    """Off, it is passed over; all others hold; and what it refused was noted."""
    (check,) = (c for c in mutated.checks if c.function == function and c.text == text)
    call = getattr(mutated, function)
    assert call(argument) == on
    assert check in mutated.refused() and mutated.refused() == []
    mutated.switch_off(check)
    assert call(argument) == off
    for other in mutated.checks:
        if other != check:
            mutated.switch_off(other)
            assert call(argument) == on
    mutated.switch_off()
    assert call(argument) == on


def test_a_check_that_passes_is_not_noted(mutated):
    """Only refusals are: so a test that saw none cannot tell whether the check is there."""
    assert mutated.limits(5) == 0 and mutated.is_good(5)
    assert mutated.refused() == []


def test_checks_for_null_stay_switchable(mutated):
    """LLVM may not conclude from the access behind a check that it never fails."""
    (check,) = (c for c in mutated.checks if c.function == "owner_of")
    assert mutated.owner_of(None) == 1
    child = os.fork()
    if child == 0:
        faulthandler.disable()
        mutated.switch_off(check)
        os._exit(mutated.owner_of(None) == 1)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGSEGV


def test_nothing_changes_when_nobody_asks(module):
    """The same text as ever: no switch, no attribute."""
    plain = kpy.jit.load(module(GUARDS))
    assert plain.checks == [] and plain.limits(0) == -22
    with pytest.raises(AttributeError):
        plain.switch_off()
