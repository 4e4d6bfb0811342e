"""Other versions of functions, of which one at a time is in force."""

import kpy.jit
import pytest

FUNCTIONS = """
def add(x: u64, y: u64) -> u64:
    return x + y
@inline
def note(p: Ptr[u64]) -> None:
    store(p, 1)
def uses(x: u64) -> u64:
    total: u64 = add(x, 10)
    note(ref(total))
    return total + add(x, x)
"""
OTHERS = """
def subtract(x: u64, y: u64) -> u64:
    return x - y
def note_twice(p: Ptr[u64]) -> None:
    store(p, 2)
"""


@pytest.fixture
def program(module):
    name, others = module(FUNCTIONS), module(OTHERS)
    versions = {f"{name}.add": f"{others}.subtract", f"{name}.note": f"{others}.note_twice"}
    loaded = kpy.jit.load(name, variants=versions)
    loaded.names = list(versions)
    return loaded


def test_one_version_at_a_time(program):
    add, note = program.names
    assert program.uses(20) == 41
    program.use_version(add)
    assert program.uses(20) == 1
    program.use_version(note)
    assert program.uses(20) == 42
    program.use_version()
    assert program.uses(20) == 41


def test_a_version_takes_and_gives_the_same(module):
    name, others = module(FUNCTIONS), module("def one(x: u64) -> u64:\n    return x\n")
    with pytest.raises(ValueError, match="parameters and result"):
        kpy.jit.load(name, variants={f"{name}.add": f"{others}.one"})
