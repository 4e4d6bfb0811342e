"""Guests race for one frame: whoever is stopped before whichever access to memory, isolation holds,
and calls are done or not begun.

Every pair of operations on one frame: in `make test` a sample, in `make test-long` every schedule
of two stops that can make a difference. A failure names the schedule; `--schedule "A A@30>B"` runs
that one only.
"""

import random
from itertools import combinations_with_replacement

import pytest

from tests.model.judge import Judge, find_problem
from tests.model.race_actors import OPERATIONS
from tests.model.race_operations import TRIPLES, make_pair, make_triple

SECONDS = 5  # with how many others each operation races when time is short
ONE_STOP = 60  # how many schedules with one stop are tried for each beginning
TWO_STOPS = 0.03  # how many of the schedules with two stops are tried then
PAIRS = [*combinations_with_replacement(OPERATIONS, 2)]


# A third processor walks


def check_walk(machine, number, most_stops, only):
    """Nobody reaches the core's memory through what was a page table (`stage.SECRET`)."""
    race = make_triple(machine, *TRIPLES[number])
    problem = find_problem(race, Judge(race, is_serial=False), most_stops, only)
    assert not problem, problem


@pytest.mark.parametrize("number", range(len(TRIPLES)))
def test_walks(machine, number, the_schedule):
    check_walk(machine, number, 1, the_schedule)


@pytest.mark.long
@pytest.mark.parametrize("number", range(len(TRIPLES)))
def test_walks_with_two_stops(machine, number, the_schedule):
    check_walk(machine, number, 2, the_schedule)


# Every pair


def check_pair(machine, one, two, only, choose=None, most_stops=2):
    """Two operations on one frame don't meet half way, whoever stops twice."""
    race = make_pair(machine, one, two)
    if race:
        problem = find_problem(race, Judge(race), most_stops, only, choose)
        assert not problem, f"{one} (A) and {two} (B): {problem}"


def some(schedules):
    """Take schedules to try when time is short: of one stop most, of two some, by the seed."""
    if len(schedules[0].stops) == 1:
        return random.sample(schedules, min(len(schedules), ONE_STOP))
    return [one for one in schedules if random.random() < TWO_STOPS]


@pytest.mark.parametrize("one", OPERATIONS)
def test_pairs(machine, one, the_schedule):
    """An operation against some by the seed, itself too."""
    for two in random.sample([*OPERATIONS], SECONDS):
        check_pair(machine, one, two, the_schedule, some)


@pytest.mark.long
@pytest.mark.parametrize(("one", "two"), PAIRS, ids=[f"{one}-{two}" for one, two in PAIRS])
def test_every_order(machine, one, two, the_schedule):
    """A domain's end is long, and wakes idle processors: it has a million orders with two stops, of
    which some are tried by the seed.
    """
    if "destroy" in (one, two):
        check_pair(machine, one, two, the_schedule, most_stops=1)
        check_pair(machine, one, two, the_schedule, some)
    else:
        check_pair(machine, one, two, the_schedule)
