"""Races between guests: what each does, and in which order.

    race = Race(machine, {"A": Racer(guest, [call("update_va_mapping", DATA, 0, 0)]), "B": …})
    outcome = race.run("A A@17>B B@5>A")     # A begins; before its access 17 B goes on …

A race begins in the state that the machine was in when it was made, so it can be run again and
again. A schedule names who begins, and stops: at which of its accesses to shared memory a racer
gives the turn to whom (tests/model/turns.py says what happens elsewhere).
"""

import ctypes
import re
import struct
from collections import Counter, namedtuple
from dataclasses import dataclass

import abi
from kpy.front.structs import size_of
from kpy.jit import KpyPanic
from kpy.lower.switch_points import ATOMIC, LOAD, STORE

from tests.model import turns
from tests.model.processors import (
    CHECK_LOAD,
    GUEST_READ,
    GUEST_WRITE,
    INTERRUPT,
    INTERRUPT_LOAD,
    MOST_ACCESSES,
    NR_MODEL_CPUS,
    OWN_STEP,
    STOP,
    WALK_LOAD,
    WALK_STORE,
)

MODEL_SITES = {
    GUEST_READ: (LOAD, "a copy of guest memory"),
    GUEST_WRITE: (STORE, "a copy of guest memory"),
    WALK_LOAD: (LOAD, "a walk through page tables"),
    WALK_STORE: (STORE, "accessed and dirty bits"),
    CHECK_LOAD: (LOAD, "a check of the model's"),
    INTERRUPT: (ATOMIC, "an interrupt to another processor"),
    INTERRUPT_LOAD: (LOAD, "a look for interrupts"),
    OWN_STEP: (LOAD, "the guest's own access"),
    STOP: (LOAD, "a planned stop"),
}
NO_RACERS = "cpu"  # processors without a part in the race: this, and their number
ENTRY = struct.Struct("<QIIII")  # processors.Access
STEP = struct.Struct("<I12xQ32xq")  # of turns.Step: kind, first argument, result
STEP_BYTES, RACER_BYTES = size_of(turns.Step), size_of(turns.Racer)
STEPS_OFFSET = turns.Racer.fields["steps"].offset
Step = namedtuple("Step", "kind number arguments")
Access = namedtuple("Access", "address number site racer size")
Stop = namedtuple("Stop", "racer at to")


def call(name, *arguments):
    """A step that is a hypercall."""
    full = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * 5)][:5]
    return Step(turns.CALL, getattr(abi, f"__HYPERVISOR_{name}"), full)


def write(address, word):
    """A step in which the guest writes a word itself."""
    return Step(turns.WRITE, address, [word, 0, 0, 0, 0])


def read(address):
    """A step in which the guest reads a word itself; its result is the word, or None."""
    return Step(turns.READ, address, [0] * 5)


def fault(address, word, error_code):
    """A step in which the guest's kernel stores a word where that faults; its result: EMULATED,
    AGAIN (turns.py), or 0 where the core did not mend that.
    """
    return Step(turns.FAULT, address, [word, error_code, 0, 0, 0])


@dataclass(frozen=True)
class Racer:
    """A vCPU and its steps."""

    guest: object
    steps: tuple
    vcpu: int = 0


@dataclass(frozen=True)
class Schedule:
    """Who begins, and where racers are stopped."""

    first: str
    stops: tuple = ()

    def __str__(self):
        return " ".join([self.first, *(f"{s.racer}@{s.at}>{s.to}" for s in self.stops)])

    @classmethod
    def parse(cls, text):
        first, *rest = text.split()
        stops = [re.fullmatch(r"(\w+)@(\d+)>(\w+)", word).groups() for word in rest]
        return cls(first, tuple(Stop(racer, int(at), to) for racer, at, to in stops))


@dataclass
class Outcome:
    """What came of a run: each racer's results, and the panic that ended it, if one did."""

    results: dict
    panic: object = None


class Race:
    """Racers, and the state of the machine in which they begin."""

    def __init__(self, machine, racers):
        self.machine, self.racers = machine, racers
        self.cpus, self.names = {}, {}
        machine["tests.model.turns.clear_race"]()
        for name, racer in racers.items():
            vcpu = racer.guest.vcpu(racer.vcpu)
            cpu = machine["tests.model.turns.enter_race"](vcpu)
            assert cpu not in self.names, "two racers on one processor"
            self.cpus[name], self.names[cpu] = cpu, name
            for step in racer.steps:
                machine["tests.model.turns.add_step"](cpu, *step[:2], *step.arguments)
        for cpu in range(NR_MODEL_CPUS):
            if cpu not in self.names:
                name = f"{NO_RACERS}{cpu}"
                self.cpus[name], self.names[cpu] = cpu, name
        machine["kpy.lower.switch_flag.is_watched"].value = 1
        machine["tests.model.processors.nr_accesses"].value = 0
        self.steps_at = int(machine["tests.model.turns.racers"]) + STEPS_OFFSET
        self.beginning = machine.take_snapshot()

    def run(self, schedule):
        """Run the race once; return its Outcome."""
        if isinstance(schedule, str):
            schedule = Schedule.parse(schedule)
        self.beginning.restore()
        for stop in schedule.stops:
            to = self.cpus[stop.to]
            self.machine["tests.model.turns.add_stop"](self.cpus[stop.racer], stop.at, to)
        panic = None
        try:
            self.machine["tests.model.turns.race"](self.cpus[schedule.first])
        except KpyPanic as error:
            panic = error
        return Outcome(self.results(), panic)

    def run_serially(self, order, left_out=()):
        """Let racers do whole steps in an order of names, but for some, (name, number); return the
        Outcome.
        """
        self.beginning.restore()
        done = Counter()
        for name in order:
            step = "skip_step" if (name, done[name]) in left_out else "do_one_step"
            self.machine[f"tests.model.turns.{step}"](self.cpus[name])
            done[name] += 1
        return Outcome(self.results())

    def results(self):
        """Each racer's results: of calls what they returned, of reads the word; None: not done."""
        found = {}
        for name, racer in self.racers.items():
            at = self.steps_at + self.cpus[name] * RACER_BYTES
            data = ctypes.string_at(at, len(racer.steps) * STEP_BYTES)
            words = []
            for kind, word, result in STEP.iter_unpack(data):
                failed = (
                    result == turns.NOT_DONE or kind in (turns.READ, turns.WRITE) and result != 0
                )
                words.append(None if failed else word if kind == turns.READ else result)
            found[name] = tuple(words)
        return found

    def log(self):
        """All accesses to shared memory in the last run, as bytes: ENTRY each."""
        count = self.machine["tests.model.processors.nr_accesses"].value
        assert count < MOST_ACCESSES, "a race of too many accesses"
        at = int(self.machine["tests.model.processors.accesses"])
        return ctypes.string_at(at, ENTRY.size * count)

    def accesses(self):
        """The accesses of the last run in their order, and where processors were stopped (STOP)."""
        return [
            Access(address, number, site, self.names[cpu], size)
            for address, number, site, cpu, size in ENTRY.iter_unpack(self.log())
        ]

    def kind_of(self, site):
        """Whether an access loads, stores, or does both at once."""
        return MODEL_SITES[site][0] if site in MODEL_SITES else self.machine.points.sites[site].kind

    def size_of(self, access):
        """How many bytes an access is about."""
        return access.size or self.machine.points.sites[access.site].size

    def where(self, access):
        """Where in the source an access is."""
        if access.site in MODEL_SITES:
            return f"{MODEL_SITES[access.site][1]} ({MODEL_SITES[access.site][0]})"
        return str(self.machine.points.sites[access.site])

    def explain(self, schedule):
        """Say in words what a schedule does."""
        if isinstance(schedule, str):
            schedule = Schedule.parse(schedule)
        self.run(schedule)
        accesses = {(a.racer, a.number): a for a in self.accesses()[::-1]}
        lines = [f"{schedule}: {schedule.first} begins"]
        for stop in schedule.stops:
            access = accesses.get((stop.racer, stop.at))
            site = self.where(access) if access else "?"
            lines.append(f"  {stop.racer} stops before {site}, {stop.to} goes on")
        return "\n".join(lines)
