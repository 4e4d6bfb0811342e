"""What a frame is, only its own room looks at: the state of a `Frame` is read and written in
kernel/frames alone, so that the protocol of owners, references, types and stamps stands in one
place. `next`, by which frames between two owners are linked, is whoever's they are.
"""

import pytest
from kpy.check import typed

from kernel.state.frame_table import Frame
from tests.unit.typed_tree import core_functions, nodes_of

# Steps of the protocol, which are wrong when they are made alone.
STEPS = {
    "take_reference",
    "put_last_reference",
    "release_frame",
    "share_writable",
    "begin_type",
    "drop_type",
    "advance_stamp",
    "move_stamp",
    "link_frame",
    "unlink_frame",
}
STATE = {"info", "owner", "stamp", "previous", "order"}
ROOM = "kernel.frames."


@pytest.fixture(scope="module")
def accesses():
    """(module, function, field) of every access to a field of a Frame in the core."""
    return {
        (instance.function.module, instance.function.name, node.field.name)
        for instance in core_functions()
        for node in nodes_of(instance.body)
        if isinstance(node, typed.FieldOf) and node.base.type is Frame
    }


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


def test_only_the_frames_room_makes_the_steps_of_its_protocol():
    calls = {
        (instance.function.module, instance.function.name, callee.function.name)
        for instance in core_functions()
        for callee in instance.callees
        if callee.function.module.startswith(ROOM) and callee.function.name in STEPS
    }
    assert {called for _, _, called in calls} == STEPS, "each is there, and found"
    assert not [call for call in sorted(calls) if not call[0].startswith(ROOM)]
