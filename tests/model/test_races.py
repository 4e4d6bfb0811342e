"""Guests race for one frame: whoever is stopped before whichever access to memory, isolation holds,
and calls are done or not begun.

Named races first: each is a hole that the core had, and must be found when the cure is undone
(tests/model/uncured.py). Then every pair of operations on one frame. A failure names the schedule;
`--schedule "A A@30>B"` runs that one only.
"""

import os
import random

import abi
import pytest

from tests.model import stage
from tests.model.explore import Judge, explore
from tests.model.guest import PAGE
from tests.model.race import Race, Racer, Schedule, read, write
from tests.model.race_operations import (
    DATA_PAGE,
    FRAME_PAGE,
    OPERATIONS,
    TRIPLES,
    make_pair,
    make_triple,
)
from tests.model.stage import SECRET, SPARE, address, entry, remap

IS_DEEP = os.environ.get("HYPOTHESIS_PROFILE") == "deep"
SECONDS = 5  # with how many others each operation races when time is short
TWO_STOPS = 0.03  # how many of the schedules with two stops are tried when time is short


@pytest.fixture
def the_schedule(request):
    """The schedule that the command line names, or None."""
    return request.config.getoption("--schedule")


def find_problem(race, judge, most_stops, only=None, choose=None):
    """Run a race in every order, or in one; return what went wrong first, with the schedule."""
    if only:
        orders = [(Schedule.parse(only), race.run(only))]
    else:
        orders = explore(race, most_stops, choose)
    for schedule, outcome in orders:
        problem = judge.problem(outcome)
        if problem:
            return f"{problem}\n{race.explain(schedule)}\nrepeat with: --schedule '{schedule}'"
    return ""


# Holes that were


def former_table(machine):
    """A former L1 table of one guest's gets written by two others' grant copies, while a processor
    may still walk through it.
    """
    owner, other, dom0 = stage.begin(machine)
    frame, l2 = owner.pages[FRAME_PAGE], owner.pages[2]
    stage.set_up_grants(owner)
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    stage.fill(machine, frame, {0: entry(owner.pages[DATA_PAGE])})
    stage.must(owner, stage.update(owner, l2, stage.SPARE_L2_SLOT, entry(frame)))
    assert stage.access(machine, owner, read(SPARE), vcpu=1) == 0
    stage.must(owner, stage.update(owner, l2, stage.SPARE_L2_SLOT, 0))
    racers = {"C": Racer(owner, [read(SPARE + PAGE)], vcpu=1)}
    for name, ref, guest in (("A", 1, other), ("B", 2, dom0)):
        stage.offer(owner, ref, frame, guest)
        forged = guest.pages[FRAME_PAGE]
        stage.fill(machine, forged, {1: entry(SECRET)})
        racers[name] = Racer(guest, [stage.grant_copy(guest, forged, (owner, ref))])
    return Race(machine, dict(sorted(racers.items())))


def stamp(machine):
    """One guest lets go of a frame while another maps it, writes to it, and lets go without a
    flush; then the frame becomes a page table.
    """
    owner, other, _ = stage.begin(machine)
    frame, at = owner.pages[FRAME_PAGE], address(FRAME_PAGE)
    stage.set_up_grants(owner)
    stage.offer(owner, 1, frame, other)
    stage.fill(machine, frame, {})
    flush = stage.mmuext(other, abi.MMUEXT_TLB_FLUSH_LOCAL, 0)
    take = stage.grant_map(other, owner, 1, at)
    return Race(
        machine,
        {
            "A": Racer(owner, [remap(at, 0), stage.pin(owner, frame)]),
            "B": Racer(other, [flush, take, write(at, 0), remap(at, 0, 0)]),
        },
    )


def entry_of_lost_table(machine):
    """Domain 0 changes an entry of a frame that it gave up, while a guest gets the frame and makes
    it a page table.
    """
    _, other, dom0 = stage.begin(machine)
    frame = give_up(machine)
    change = stage.update(dom0, frame, 5, entry(dom0.pages[DATA_PAGE]))
    taken = [stage.populate(other), stage.pin(other, frame)]
    return Race(machine, {"A": Racer(dom0, [change]), "B": Racer(other, taken)})


def grant_in_lost_table(machine):
    """Domain 0 maps a grant at an entry of a frame that it gave up, and so on."""
    granter, other, dom0 = stage.begin(machine)
    stage.set_up_grants(granter)
    for ref in (1, 2):
        stage.offer(granter, ref, granter.pages[DATA_PAGE], dom0)
    stage.must(dom0, stage.grant_map(dom0, granter, 1, address(20)))  # takes memory for handles
    frame = give_up(machine)
    flags = abi.GNTMAP_host_map | abi.GNTMAP_contains_pte
    take = stage.grant_map(dom0, granter, 2, frame << 12 | 40, flags)
    taken = [stage.populate(other), stage.pin(other, frame)]
    return Race(machine, {"A": Racer(dom0, [take]), "B": Racer(other, taken)})


def first_handle(machine):
    """A guest maps its first grant, for which memory is out until another gives a frame up."""
    owner, _, dom0 = stage.begin(machine)
    frame = owner.pages[FRAME_PAGE]
    stage.must(owner, remap(address(FRAME_PAGE), 0))
    stage.set_up_grants(dom0)
    stage.offer(dom0, 1, dom0.pages[DATA_PAGE], owner)
    stage.drain(machine)
    take = stage.grant_map(owner, dom0, 1, address(20))
    give = stage.decrease(owner, frame)
    return Race(machine, {"A": Racer(owner, [take]), "B": Racer(owner, [give], vcpu=1)})


def give_up(machine):
    """Let domain 0 give up a frame, the only free one then; return it."""
    dom0 = machine.dom0
    frame = dom0.pages[FRAME_PAGE]
    stage.must(dom0, remap(address(FRAME_PAGE), 0))
    stage.drain(machine)
    stage.must(dom0, stage.decrease(dom0, frame))
    return frame


def pin_of_lost_table(machine):
    """Domain 0 unpins such a frame."""
    _, other, dom0 = stage.begin(machine)
    frame = give_up(machine)
    taken = [stage.populate(other), stage.pin(other, frame)]
    return Race(
        machine,
        {"A": Racer(dom0, [stage.unpin(dom0, frame)]), "B": Racer(other, taken)},
    )


PAGE_TYPE = "kernel.frames.page_type"
FRAME_OF = "kernel.frames.frame.frame_of"
HOLES = {  # the race: how many stops, and which cure is to be undone
    former_table: (1, f"{PAGE_TYPE}.begin_type"),
    stamp: (1, f"{PAGE_TYPE}.advance_stamp"),
    entry_of_lost_table: (2, FRAME_OF),
    grant_in_lost_table: (2, FRAME_OF),
    pin_of_lost_table: (2, FRAME_OF),
    first_handle: (1, "kernel.grant.maptrack.add_maptrack_frame"),
}


@pytest.mark.parametrize("make", HOLES)
def test_hole(machine, make, the_schedule):
    race = make(machine)
    problem = find_problem(race, Judge(race), HOLES[make][0], the_schedule)
    assert not problem, problem


@pytest.mark.parametrize("make", HOLES)
def test_hole_is_found_when_its_cure_is_undone(machine, make):
    most_stops, cure = HOLES[make]
    race = make(machine)
    judge = Judge(race)
    machine.program.use_version(cure)
    try:
        assert find_problem(race, judge, most_stops)
    finally:
        machine.program.use_version(None)


# A third processor walks


@pytest.mark.parametrize("number", range(len(TRIPLES)))
def test_walks(machine, number, the_schedule):
    """Nobody reaches the core's memory through what was a page table (`stage.SECRET`)."""
    race = make_triple(machine, *TRIPLES[number])
    most_stops = 2 if IS_DEEP or the_schedule else 1
    problem = find_problem(race, Judge(race, is_serial=False), most_stops, the_schedule)
    assert not problem, problem


# Every pair


def some(schedules):
    """Take all schedules of one stop, and of longer ones some by the seed."""
    if IS_DEEP or len(schedules[:1]) == 0 or len(schedules[0].stops) == 1:
        return schedules
    return [schedule for schedule in schedules if random.random() < TWO_STOPS]


@pytest.mark.parametrize("one", OPERATIONS)
def test_pairs(machine, one, the_schedule):
    """An operation against each, itself too; when time is short, against some by the seed."""
    names = [*OPERATIONS]
    for two in names[names.index(one) :] if IS_DEEP else random.sample(names, SECONDS):
        race = make_pair(machine, one, two)
        if race:
            problem = find_problem(race, Judge(race), 2, the_schedule, some)
            assert not problem, f"{one} (A) and {two} (B): {problem}"
