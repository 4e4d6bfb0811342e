"""What a frame is, only its own room looks at: the state of a `Frame` is read and written in
kernel/frames alone, so that the protocol of owners, references, types and stamps stands in one
place. `next`, by which frames between two owners are linked, is whoever's they are.
"""

import dataclasses
import sys

import pytest
from kpy.check import checker, typed
from kpy.front import modules
from kpy.front.program import Program

from kernel.state.frame_table import Frame

STATE = {"info", "owner", "stamp", "previous", "order"}
ROOM = "kernel.frames."


@pytest.fixture(scope="module")
def accesses():
    """(module, function, field) of every access to a field of a Frame in the core."""
    program = Program()
    modules.load(program, "kernel.main")
    core = [module for name, module in sys.modules.items() if name.startswith("kernel.")]
    roots = [each for module in core for each in modules.declared_instances(program, module)]
    instances = checker.check_all(program, roots)
    assert not len(program.diagnostics)
    found = set()
    for instance in instances:
        for node in nodes_of(instance.body):
            if isinstance(node, typed.FieldOf) and node.base.type is Frame:
                found.add((instance.function.module, instance.function.name, node.field.name))
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


def test_only_the_frames_room_looks_into_a_frame(accesses):
    assert not [
        each for each in sorted(accesses) if not each[0].startswith(ROOM) and each[2] in STATE
    ]


def test_the_search_finds_what_it_looks_for(accesses):
    for function, field in (
        ("frame_of", "owner"),
        ("move_stamp", "stamp"),
        ("begin_type", "info"),
    ):
        assert any(each[1:] == (function, field) for each in accesses), function
