"""Holes that the core had are not there, and each is found when its cure is undone.

Other versions of functions, as they were before, are in tests/model/uncured.py. Most holes are
races of tests/model/holes.py; the others are calls of tests/model/test_defects.py.
"""

import pytest
from kpy.jit import KpyPanic

from tests.model import test_defects
from tests.model.holes import (
    HOLES,
    entry_of_lost_table,
    first_handle,
    former_table,
    frame_of_the_dying,
    grant_in_lost_table,
    pin_of_lost_table,
    stamp,
)
from tests.model.judge import Judge, find_problem

RACES = {  # what is undone, and the race that tells
    "kernel.frames.page_type.begin_type": former_table,
    "kernel.frames.page_type.advance_stamp": stamp,
    "kernel.paging.mmu_update.update_entry": entry_of_lost_table,
    "kernel.grant.l1_mapping.locate_l1e": grant_in_lost_table,
    "kernel.paging.base_pointer.unpin_table": pin_of_lost_table,
    "kernel.grant.maptrack.add_maptrack_frame": first_handle,
}
FRAME_OF = "kernel.frames.frame.frame_of"
USERS_OF_FRAME_OF = [entry_of_lost_table, grant_in_lost_table, pin_of_lost_table]
RELINQUISH_FRAME = "kernel.domain.relinquish.relinquish_frame"


def wraps(machine):
    for name in ("mmu_update", "mmuext_op"):
        test_defects.test_the_progress_of_a_call_that_goes_on_is_the_guests_word(
            machine, name, 0xFFFFFFFF
        )


def restarts(machine):
    test_defects.test_a_guest_cannot_forge_a_continuation(machine, "mmuext_op")


CALLS = {  # what is undone, and the calls that tell
    "kernel.paging.mmu_update.report_progress": wraps,
    "kernel.state.continuation.take_continuation": restarts,
    "kernel.memory.query.highest_page": test_defects.test_a_dead_domain_has_no_highest_page,
}


@pytest.fixture
def undo(machine):
    """What puts the version of a function in force that was before the cure."""
    yield machine.program.use_version
    machine.program.use_version(None)


@pytest.mark.parametrize("make", HOLES)
def test_hole(machine, make, the_schedule):
    race = make(machine)
    problem = find_problem(race, Judge(race), HOLES[make], the_schedule)
    assert not problem, problem


def is_found_without(undo, cure, make, machine):
    race = make(machine)
    judge = Judge(race)
    undo(cure)
    return find_problem(race, judge, HOLES[make])


@pytest.mark.parametrize("cure", RACES)
def test_a_race_finds_the_hole_without_its_cure(machine, undo, cure):
    assert is_found_without(undo, cure, RACES[cure], machine)


@pytest.mark.parametrize("make", USERS_OF_FRAME_OF)
def test_a_race_finds_that_owner_and_reference_are_taken_apart(machine, undo, make):
    assert is_found_without(undo, FRAME_OF, make, machine)


@pytest.mark.parametrize("cure", CALLS)
def test_calls_find_the_hole_without_its_cure(machine, undo, cure):
    undo(cure)
    with pytest.raises((AssertionError, KpyPanic)):
        CALLS[cure](machine)


@pytest.mark.parametrize("cure", [FRAME_OF, RELINQUISH_FRAME])
def test_a_dying_guests_frame_is_nobodys_before_the_taker_has_flushed(machine, undo, cure):
    """Why one stop, wherever it is, does not show the hole in `relinquish_frame`: a frame with
    another owner has been flushed from the processor that looks at the list of the dying, which
    does not do so between its two looks. So the reference is there for who changes that.
    """
    race = frame_of_the_dying(machine)
    judge = Judge(race)
    undo(cure)
    problem = find_problem(race, judge, 1)
    assert not problem, problem
