"""A constant has one home: the same name does not stand for the same thing in two files.

The core is one program, libos with its drivers another; they share the ABI and nothing else. A test
imports what the core calls its own. The examples of libos are meant to be copied, each by itself.
"""

import ast
from collections import defaultdict
from pathlib import Path

import abi
import pytest

ROOT = Path(__file__).parents[2]
PROGRAMS = {"the core": ("kernel",), "libos": ("libos", "drivers")}
TESTS_OF_THE_CORE = ("tests/model", "tests/unit")
EXAMPLES = "libos/examples/"

# What these rooms know is in the manuals, and a test may say it in its own words.
FROM_THE_MANUALS = ("kernel/x86/", "kernel/emulate/", "kernel/paging/base_pointer.py")
# Values that stand for two things by chance, or by design of the machine: why.
TWO_MEANINGS = {
    0xFEE00000: "a local APIC's registers, and the messages to it, have one address in two worlds",
}


def assignments(tree):
    """Return (name, expression) of each assignment at module level."""
    found = []
    for node in tree.body:
        if not isinstance(node, ast.Assign):
            continue
        for target in node.targets:
            names = target.elts if isinstance(target, ast.Tuple) else [target]
            whole = isinstance(target, ast.Tuple) and isinstance(node.value, ast.Tuple)
            values = node.value.elts if whole else [node.value] * len(names)
            if whole or not isinstance(target, ast.Tuple):
                found += [
                    (ast.unparse(name), value) for name, value in zip(names, values, strict=True)
                ]
    return found


def value_of(expression):
    """Return what an expression of literals and the ABI is, or how an external symbol is declared;
    None for all else.
    """
    text = ast.unparse(expression)
    if "extern=True" in text:
        return text
    try:
        value = eval(text, {"__builtins__": {}}, {"abi": abi, "ord": ord, "sizeof": None})
    except Exception:  # names of the module, calls: no constant by itself
        return None
    return value if isinstance(value, (int, str, bytes, tuple)) else None


def constants(*folders):
    """Return {(name, value): files} of what the files below these folders define."""
    homes = defaultdict(list)
    for folder in folders:
        for path in sorted((ROOT / folder).rglob("*.py")):
            name = str(path.relative_to(ROOT))
            if name.startswith(EXAMPLES):
                continue
            for constant, expression in assignments(ast.parse(path.read_text())):
                value = value_of(expression)
                if value is not None:
                    homes[constant, value].append(name)
    return homes


def is_distinctive(value):
    """Tell whether a number is unlikely to come up twice by chance: no small or round one, no
    single bit, no mask.
    """
    if not isinstance(value, int) or value < 1000 or value % 1000 == 0:
        return False
    low = value & -value
    return value & (value - 1) != 0 and (value + low) & value != 0


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_constant_has_one_home(program):
    homes = constants(*PROGRAMS[program])
    assert len(homes) > 20
    assert {key[0]: files for key, files in homes.items() if len(files) > 1} == {}


def test_a_number_has_one_name():
    names = defaultdict(set)
    for name, value in constants("kernel"):
        if is_distinctive(value) and value not in TWO_MEANINGS:
            names[value].add(name)
    assert {hex(value): found for value, found in names.items() if len(found) > 1} == {}


def test_tests_import_what_the_core_defines():
    homes = constants("kernel").items()
    own = {key for key, files in homes if not files[0].startswith(FROM_THE_MANUALS)}
    again = {key[0]: files for key, files in constants(*TESTS_OF_THE_CORE).items() if key in own}
    assert len(own) > 100 and again == {}


def test_what_is_distinctive():
    assert is_distinctive(0xCF8) and is_distinctive(0xFEE00000)
    assert not any(map(is_distinctive, [0x80, 1 << 40, 1_000_000_000, 0xFF00, (1 << 64) - 1, 64]))


def test_what_counts_as_a_constant():
    code = "A, B = 1 << 3, ord('x')\nC = abi.DOMID_SELF\nD = A + 1\nE = static(u8)\n"
    values = [(name, value_of(value)) for name, value in assignments(ast.parse(code))]
    assert values == [("A", 8), ("B", ord("x")), ("C", abi.DOMID_SELF), ("D", None), ("E", None)]
