"""What tries the orders of a race leaves none out that shows anything else."""

import pytest

from tests.model.explore import explore
from tests.model.judge import Judge
from tests.model.processors import STOP
from tests.model.race import Race, Racer, Schedule, Stop, read, write
from tests.model.race_actors import DATA_PAGE
from tests.model.race_operations import make_pair
from tests.model.stage import address, begin

PAIRS = [("map_writable", "pin_l1"), ("decrease", "grant_map"), ("make_readable", "copy_to")]


def places(race):
    """Every access behind the last stop of the last run: who, and the number."""
    accesses = race.accesses()
    begin = max((i for i, a in enumerate(accesses) if a.site == STOP), default=-1) + 1
    passed = {a.racer: a.number for a in accesses[:begin]}
    found = {(a.racer, a.number) for a in accesses[begin:] if a.number > passed.get(a.racer, 0)}
    return sorted(place for place in found if place[0] in race.racers)


def all_orders(race, schedule, most_stops):
    """Run a schedule with any more stops; yield the outcomes."""
    yield race.run(schedule)
    for racer, number in places(race) if len(schedule.stops) < most_stops else ():
        for to in race.racers.keys() - {racer}:
            longer = Schedule(schedule.first, (*schedule.stops, Stop(racer, number, to)))
            yield from all_orders(race, longer, most_stops)


def check_pair(machine, pair, most_stops):
    """Whatever comes of any order comes of one that is tried."""
    race = make_pair(machine, *pair)
    judge = Judge(race)

    def state(outcome):
        return hash((str(outcome), *judge.parts()))

    tried = {state(outcome) for _, outcome in explore(race, most_stops)}
    every = {
        state(o) for first in race.racers for o in all_orders(race, Schedule(first), most_stops)
    }
    assert every <= tried


@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_one_stop(machine, pair):
    check_pair(machine, pair, 1)


@pytest.mark.long
@pytest.mark.parametrize("pair", PAIRS[1:], ids="-".join)
def test_two_stops(machine, pair):
    check_pair(machine, pair, 2)


def test_a_guest_is_stopped_between_its_own_accesses(machine):
    """One guest reads twice, its other vCPU writes in between: nothing of the core's runs."""
    owner, *_ = begin(machine)
    at = address(DATA_PAGE)
    racers = {"A": Racer(owner, [read(at), read(at)]), "B": Racer(owner, [write(at, 7)], vcpu=1)}
    race = Race(machine, racers)
    found = {outcome.results["A"] for _, outcome in explore(race, 1)}
    assert found == {(0, 0), (0, 7), (7, 7)}
