"""Nothing has one name in the core, None: a frame, an address, a handle that is not there is an
optional newtype, and no number that each reader must know.
"""

import ast
import re
from collections import defaultdict
from pathlib import Path

import pytest
from kpy.check import checker, typed
from kpy.front import modules
from kpy.front.program import Program
from kpy.front.types import Newtype

from tests.unit.typed_tree import core_functions, nodes_of

ROOT = Path(__file__).parents[2]
NAMES = re.compile(r"^(NO|INVALID|UNSET|NOTHING|NEVER|NIL)(_|$)|_(NOTHING|UNSET|NONE|none)$")
ALL_ONES = [(1 << bits) - 1 for bits in (16, 32, 64)]

# Numbers that stand for nothing all the same: who reads them. Each is defined at one place.
KEPT = {
    "INVALID_M2P": "guests, in the machine-to-physical table",
    "INVALID_P2M": "domain 0, in the list that it is given",
    "SHUTDOWN_CODE_none": "the toolstack, in a domain's flags",
    "NO_VCPU": "the toolstack's debugger",
    "NO_OWNER": "a frame's owner is a domain id, of which the ABI keeps one for nobody",
    "NEVER": "the place of a ring's reader is 32 bits that domain 0 writes",
    "PGT_none": "a type like others, of Xen's: a frame that has no special use",
    "IO_none": "a right like others",
}
# What only looks so: masks, limits, a flag of the firmware's, the number of every processor.
OTHERS = {
    "CURSOR_MASK",
    "LOW_32",
    "ALL_WORDS",
    "LOAD_LIMIT",
    "MAX_COUNT",
    "NO_CMOS_CLOCK",
    "ANY_PROCESSOR",
}


def sentinels(files):
    """Return {name: files} of the constants that look like names for nothing."""
    homes = defaultdict(list)
    for path, text in files:
        for node in ast.parse(text).body:
            if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
                name = node.targets[0].id
                if NAMES.search(name) or value_of(node.value) in ALL_ONES:
                    homes[name].append(path)
    return homes


def value_of(expression):
    """Return what an expression of literals is, None for any other."""
    try:
        return eval(ast.unparse(expression), {"__builtins__": {}})
    except Exception:  # it has names
        return None


def test_no_constant_is_a_second_name_for_nothing():
    files = [(str(path), path.read_text()) for path in (ROOT / "kernel").rglob("*.py")]
    found = sentinels(files)
    assert set(found) - OTHERS == set(KEPT)
    assert [name for name, homes in found.items() if len(homes) > 1] == []


def test_what_looks_like_a_name_for_nothing():
    text = "NO_PORT = 7\nUNSET = g()\nEND = (1 << 32) - 1\nNOBODY = 3\nNORTH = 0xFFF\nPORT_NONE = 0"
    assert set(sentinels([("x.py", text)])) == {"NO_PORT", "UNSET", "END", "PORT_NONE"}


def optional_of(type_):
    """Return the newtype with a None that a type is, or could be; else None."""
    type_ = getattr(type_, "plain", type_)
    return type_ if isinstance(type_, Newtype) and type_.none is not None else None


def is_none_of(number, expression):
    """Tell whether a constant is the None of what an expression is, or was converted from."""
    while True:
        newtype = optional_of(expression.type)
        if newtype is not None and number.value == newtype.none:
            return True
        if not isinstance(expression, typed.Convert):
            return False
        expression = expression.operand


def compares_with_none(node):
    """Tell whether a comparison asks by a number for what `is None` asks."""
    pairs = [*zip(node.operands, node.operands[1:], strict=False)]
    return any(
        isinstance(number, typed.Const) and is_none_of(number, other)
        for pair in pairs
        for number, other in (pair, reversed(pair))
    )


def makes_none(node):
    """Tell whether a constant is a plain newtype's None, such as `Mfn(0)`."""
    return isinstance(node.type, Newtype) and is_none_of(node, node)


@pytest.fixture(scope="module")
def nodes():
    """((module, function), node) of all that the core's functions do."""
    return [
        ((instance.function.module, instance.function.name), node)
        for instance in core_functions()
        for node in nodes_of(instance.body)
    ]


def test_nothing_is_asked_for_by_its_number(nodes):
    compared = [(where, n) for where, n in nodes if isinstance(n, typed.Compare)]
    assert len(compared) > 1000
    assert sorted({where for where, n in compared if compares_with_none(n)}) == []


def test_nothing_is_made_by_its_number(nodes):
    made = [(where, n) for where, n in nodes if isinstance(n, typed.Const)]
    assert len(made) > 1000
    assert sorted({where for where, n in made if makes_none(n)}) == []


PROGRAM = """
from kpy import newtype, u64
Mfn = newtype("Mfn", u64, none=0)
def asks(mfn: Mfn) -> bool:
    return u64(mfn) == 0
def makes() -> Mfn:
    return Mfn(0)
def does_neither(mfn: Mfn | None, n: u64) -> bool:
    return mfn is None or mfn == Mfn(3) or n == 0
"""


def test_what_is_found_in_a_program(tmp_path, monkeypatch):
    """Both searches see what they look for."""
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "names_of_nothing.py").write_text(PROGRAM)
    program = Program()
    loaded = modules.load(program, "names_of_nothing")
    checked = checker.check_all(program, modules.declared_instances(program, loaded))
    found = defaultdict(set)
    for each in checked:
        for node in nodes_of(each.body):
            if isinstance(node, typed.Compare) and compares_with_none(node):
                found["compares"].add(each.function.name)
            if isinstance(node, typed.Const) and makes_none(node):
                found["makes"].add(each.function.name)
    assert found == {"compares": {"asks"}, "makes": {"makes"}}
