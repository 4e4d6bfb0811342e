"""Counters of edges: what counts as one, and that each way is counted as it is taken."""

import kpy.jit
import pytest

BRANCHES = """
@enum(u8)
class Colour:
    RED = 0
    GREEN = 1
def limits(x: u64) -> u64:
    if x > 3 and x < 9:
        return 1
    return 0
def total(x: u64) -> u64:
    found: u64 = 0
    for i in range(x):
        found += i
    return found
def arms(x: u64) -> u64:
    match x:
        case 1 | 2:
            return 10
        case _:
            return 20
def chosen(x: u64) -> u64:
    return 1 if 2 < x < 7 else 0
def either(x: u64) -> bool:
    return x == 1 or x == 5
def careful(x: u64) -> u64:
    assert x != 4
    return x + 1
"""


@pytest.fixture
def counted(module):
    name = module(BRANCHES)
    return kpy.jit.load(name, edges=(name,))


def taken(program, function, *arguments):
    """Call a function; return the edges that it took, in order of the source, and how often."""
    for number in range(len(program.edges)):
        program.edge_counts[number] = 0
    getattr(program, function)(*arguments)
    counts = zip(program.edges, program.edge_counts, strict=True)
    return [(e.line - e_line(program, function), e.way, n) for e, n in counts if n]


def e_line(program, function):
    return next(e.line for e in program.edges if e.function == function)


CALLS = [
    ("limits", 2, [(0, "enter", 1), (1, "false", 1)]),
    ("limits", 5, [(0, "enter", 1), (1, "true", 1), (1, "true", 1)]),
    ("limits", 9, [(0, "enter", 1), (1, "true", 1), (1, "false", 1)]),
    ("total", 3, [(0, "enter", 1), (2, "true", 3), (2, "false", 1)]),
    ("total", 1000, [(0, "enter", 1), (2, "true", 255), (2, "false", 1)]),
    ("arms", 2, [(0, "enter", 1), (1, "case 1 | 2", 1)]),
    ("arms", 3, [(0, "enter", 1), (1, "case _", 1)]),
    ("chosen", 5, [(0, "enter", 1), (1, "true", 1)]),
    ("chosen", 9, [(0, "enter", 1), (1, "false", 1)]),
    ("either", 5, [(0, "enter", 1), (1, "false", 1), (1, "true", 1)]),
    ("careful", 5, [(0, "enter", 1)]),
]


@pytest.mark.parametrize(("function", "argument", "expected"), CALLS)
def test_edges_are_counted_as_they_are_taken(counted, function, argument, expected):
    assert taken(counted, function, argument) == expected


def test_an_edge_says_where_it_is(counted):
    (edge,) = (e for e in counted.edges if e.function == "arms" and e.way == "case _")
    assert str(edge) == f"{edge.file}:{edge.line} arms: case _"
    assert [e.number for e in counted.edges] == list(range(len(counted.edges)))


def test_other_modules_are_not_counted(module):
    program = kpy.jit.load(module(BRANCHES), edges=("kernel",))
    assert program.edges == [] and program.limits(5) == 1


def test_nothing_changes_when_nobody_asks(module):
    program = kpy.jit.load(module(BRANCHES))
    assert program.edges == [] and program.edge_counts is None
