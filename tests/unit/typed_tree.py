"""The core's typed tree, for tests that hold what every function of it must do."""

import dataclasses
import sys
from functools import cache

from kpy.check import checker, typed
from kpy.front import modules
from kpy.front.program import Program


@cache
def core_functions():
    """Every function of the core, checked."""
    program = Program()
    modules.load(program, "kernel.main")
    core = [module for name, module in sys.modules.items() if name.startswith("kernel.")]
    roots = [each for module in core for each in modules.declared_instances(program, module)]
    found = checker.check_all(program, roots)
    assert not len(program.diagnostics)
    return found


def nodes_of(tree):
    """Yield every node of a typed tree."""
    if isinstance(tree, list | tuple):
        for each in tree:
            yield from nodes_of(each)
    elif isinstance(tree, dict):
        yield from nodes_of(list(tree.values()))
    elif isinstance(tree, typed.Node | typed.Body):
        yield tree
        for field in dataclasses.fields(tree):
            if field.name not in ("at", "type"):
                yield from nodes_of(getattr(tree, field.name))
