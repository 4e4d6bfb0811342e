"""Whatever several guests do at the same moment, isolation holds: operations of the other state
machines begin together on several processors.

The operations, who goes on first, and the accesses before which a racer loses its turn are drawn
(as in Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs"):
a race with few such points is likely enough to be among those drawn, and a failure shrinks to few.
"""

import abi
import pytest
from hypothesis import note
from hypothesis import strategies as st
from hypothesis.stateful import rule, run_state_machine_as_test

from tests.model import race
from tests.model.actors import bits, numbers, pick
from tests.model.depth import settings
from tests.model.foreign_rules import ForeignRules
from tests.model.grant_rules import GrantRules
from tests.model.guest import ARGUMENTS, make
from tests.model.turns import MOST_STEPS

# The rules whose calls may begin together, and how many numbers each takes.
OPERATIONS = {
    "mmu_update": "table slot frame flags command",
    "update_va_mapping": "page frame flags flush",
    "protect": "page flush flags",
    "pin": "page level choices frame",
    "unpin": "table choices",
    "new_baseptr": "table choices user",
    "clear_or_copy": "to from_ is_copy",
    "reservation": "operation order count frame",
    "exchange": "sizes frame page",
    "set_gdt": "page count page_of_zeros",
    "map_foreign": "other page frame flags flush",
    "update_foreign": "other slot frame flags tables",
    "act_on_foreign": "other what frame choices",
    "map_grant": "granter number page flags choices",
    "copy": "sides first second length choices",
}
OPERATION = st.tuples(st.sampled_from(sorted(OPERATIONS)), numbers, st.lists(bits, max_size=5))
POINT = st.tuples(numbers, st.integers(0, 1 << 12))
MOST_RACERS = 3


class RaceRules(GrantRules, ForeignRules):
    """All of it, one after another and together."""

    collected = None  # (domain id, vCPU number): steps, while a race is being made

    def call(self, who, name, *arguments, choices=0):
        """Make a hypercall, or let it be one of the race to come."""
        if self.collected is None:
            return super().call(who, name, *arguments, choices=choices)
        steps = self.collected.setdefault((who.id, (choices >> 8) % who.nr_vcpus), [])
        if len(steps) < MOST_STEPS:
            steps.append(race.call(name, *arguments))
        return None

    @rule(
        operations=st.lists(OPERATION, min_size=2, max_size=4),
        points=st.lists(POINT, max_size=3),
        first=numbers,
        destroys=numbers,
    )
    def begin_together(self, operations, points, first, destroys):
        """Let guests do some operations at the same moment."""
        for guest in self.everybody():
            guest.put_at = ARGUMENTS
        self.collected = {}
        try:
            for name, who, drawn in operations:
                names = OPERATIONS[name].split()
                getattr(self, name)(who=who, **dict(zip(names, [*drawn, *[0] * 5], strict=False)))
            if destroys == 255 and self.machine.guests:
                self.destroy_one(first)
        finally:
            steps, self.collected = self.collected, None
        self.run(steps, points, first)

    def destroy_one(self, number):
        """Let domain 0 destroy a guest meanwhile."""
        victim, dom0 = pick(self.machine.guests, number), self.machine.dom0
        version = abi.XEN_DOMCTL_INTERFACE_VERSION
        fields = {"domain": victim.id, "interface_version": version}
        op = make(abi.xen_domctl, cmd=abi.XEN_DOMCTL_destroydomain, **fields)
        self.call(dom0, "domctl", dom0.put(bytes(op)))
        self.machine.guests.remove(victim)

    def run(self, steps, points, first):
        """Run the race that was collected."""
        guests = {guest.id: guest for guest in [*self.machine.guests, self.machine.dom0]}
        racers = {
            f"d{domain_id}v{vcpu}": race.Racer(guests[domain_id], tuple(mine), vcpu)
            for (domain_id, vcpu), mine in steps.items()
            if domain_id in guests
        }
        racers = dict([*racers.items()][:MOST_RACERS])
        if not racers:
            return
        run = race.Race(self.machine, racers)
        names = [*racers]
        names = names[first % len(names) :] + names[: first % len(names)]
        run.run(race.Schedule(names[0]))
        lengths = {access.racer: access.number for access in run.accesses()}
        stops = []
        for number, at in points:
            racer = pick(names, number)
            to = pick(names, number + 1)
            if to != racer and lengths.get(racer):
                stops.append(race.Stop(racer, 1 + at % lengths[racer], to))
        schedule = race.Schedule(names[0], tuple(stops))
        note(f"{[(n, r.steps) for n, r in racers.items()]}\n{run.explain(schedule)}")
        outcome = run.run(schedule)
        self.machine["kpy.lower.switch_flag.is_watched"].value = 0
        if outcome.panic:
            raise outcome.panic


@pytest.mark.deep
def test_races(whole_machine):
    run_state_machine_as_test(RaceRules.of(whole_machine), settings=settings(40, 30))
