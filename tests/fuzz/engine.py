"""Runs programs in a world, sees what is new in them, and finds out what is wrong with them."""

import contextlib
import ctypes
import traceback
from dataclasses import dataclass

from kpy.jit import KpyPanic

from tests.fuzz.program import parts
from tests.fuzz.runner import MOST_RACERS, RACE
from tests.model import invariants, invariants_events, invariants_sched
from tests.model.picture import Picture

AUDIT_INTERVAL = 32  # actions
MOST_OUTCOMES = 4096
# Counts of an edge that are as good as the same: 1, 2, 3, 4-7, 8-15, 16-31, 32-127, more.
BUCKETS = bytes(
    0 if n == 0 else 1 << [n >= m for m in (2, 3, 4, 8, 16, 32, 128)].count(True)
    for n in range(256)
)
# What domain 0 may bring about, which ends the model.
ALLOWED = ["the machine restarts", "the machine is switched off", "a processor stops the others"]


@dataclass
class Finding:
    """What is wrong: two programs with the same `what` show the same."""

    what: str
    detail: str = ""


class Engine:
    """A world, and how to run programs in it."""

    def __init__(self, world, is_toolstack_hostile=False):
        self.world, self.machine = world, world.machine
        self.edges = self.machine.program.edges
        self.counts = self.machine.program.edge_counts
        self.run_actions = self.machine["tests.fuzz.runner.run"]
        calls = int(self.machine["tests.fuzz.runner.nr_calls"])
        self.calls = ctypes.c_uint64.from_address(calls)
        rights = int(self.machine["tests.fuzz.audit.audit_rights"])
        self.rights = ctypes.c_uint8.from_address(rights)
        self.is_toolstack_hostile = is_toolstack_hostile
        self.nr_calls = self.nr_runs = 0
        self.has_ended = False
        self.seen = 0  # all buckets of all edges so far, as one number

    def begin(self):
        """Bring the world back to its beginning, and all counters."""
        self.world.start_again()
        self.has_ended = False
        self.rights.value = not self.is_toolstack_hostile
        ctypes.memset(self.counts, 0, len(self.counts))

    def run(self, program, interval=AUDIT_INTERVAL, is_thorough=False):
        """Run a program from the beginning; return what was wrong, or None."""
        self.begin()
        before = self.calls.value
        finding = self.guarded(lambda: self.execute(program, interval))
        self.nr_calls += self.calls.value - before
        self.nr_runs += 1
        if finding is None and is_thorough:
            finding = self.guarded(self.check)
        return finding

    def execute(self, program, interval):
        """Execute actions from where the world is."""
        data = b"".join(program)
        self.run_actions(ctypes.cast(data, ctypes.c_void_p).value, len(data), interval)

    def guarded(self, do):
        """Do something; return what it says is wrong."""
        try:
            do()
        except KpyPanic as panic:
            if self.is_toolstack_hostile and panic.text in ALLOWED:
                self.has_ended = True  # in the middle of something: there is nothing to check
                return None
            return Finding(f"{panic.file}:{panic.line}: {panic.text}")
        except AssertionError as error:
            frames = [f for f in traceback.extract_tb(error.__traceback__)]
            return Finding(f"invariant {frames[-1].name}", str(error)[:1000])
        return None

    def check(self):
        """Check everything that must hold of a machine that is not at its end."""
        machine = self.machine
        if self.has_ended:
            return
        if self.is_toolstack_hostile:
            check_counts(machine)
        else:
            invariants.check(machine)
        check_channels(machine)
        invariants_sched.check_sched(machine)

    def novelty(self):
        """What the last run reached that none before did: a number whose bits are edge buckets."""
        found = ctypes.string_at(self.counts, len(self.counts)).translate(BUCKETS)
        return int.from_bytes(found, "little") & ~self.seen

    def reached(self):
        """The numbers of the edges reached so far."""
        flags = self.seen.to_bytes(len(self.edges) or 1, "little")
        return {number for number, flag in enumerate(flags) if flag}

    def trace(self, program, is_thorough=True):
        """Run a program action by action; yield (it and who races with it, outcome, what is wrong
        then).
        """
        self.begin()
        buffer = ctypes.create_string_buffer(16 * MOST_OUTCOMES)
        self.machine["tests.fuzz.runner.outcomes"].value = ctypes.addressof(buffer)
        for items in units(program):
            ctypes.memset(buffer, 0, 16)
            finding = self.guarded(lambda items=items: self.execute(items, 1))
            if finding is None and is_thorough:
                finding = self.guarded(self.check)
            result = ctypes.c_int64.from_buffer(buffer, 8).value
            yield items, result if buffer.raw[0] else None, finding
            if finding:
                return

    def new_frames(self):
        """Frames that guests have got since the beginning."""
        old = {mfn for guest in self.world.guests for mfn in guest.pages}
        with contextlib.suppress(AssertionError):
            owned = Picture(self.machine).owned
            return [mfn for mfn in owned if mfn not in old][:64]
        return []


def units(program):
    """Yield the actions of a program one by one, those of a race together."""
    at = 0
    while at < len(program):
        head = parts(program[at])
        count = 1 + (min(head.number, MOST_RACERS) if head.kind == RACE else 0)
        yield program[at : at + count]
        at += count


def check_counts(machine):
    """Check what holds whatever domain 0 does."""
    picture = Picture(machine)
    invariants.no_page_table_is_writable(picture)
    invariants.references_are_those_that_exist(picture)
    invariants.types_are_those_in_use(picture)
    invariants.every_frame_is_somewhere_once(picture)
    invariants.free_frames_are_forgotten(picture)
    invariants.domains_count_their_frames(picture)
    invariants.address_spaces_end_where_the_core_begins(picture)
    invariants.no_lock_is_held(picture)


def check_channels(machine):
    """Check event channels, but for the bits that guests write themselves."""
    domains = machine.alive()
    tables = {int(domain): invariants_events.channels_of(domain) for domain in domains}
    for domain in domains:
        name, channels = f"d{domain.domain_id}", tables[int(domain)]
        invariants_events.check_table(name, domain, channels)
        for channel in channels:
            invariants_events.check_channel(f"{name} {channel}", domain, channel, tables)
        invariants_events.check_bindings(name, domain, channels)
    invariants_events.check_pirqs(machine, domains, tables)


def minimise(program, shows, tries=600):
    """Drop actions from a program as long as `shows(program)` holds."""
    size = max(1, len(program) // 2)
    while True:
        at = 0
        while at < len(program) and tries:
            shorter = program[:at] + program[at + size :]
            tries -= 1
            if shorter and shows(shorter):
                program = shorter
            else:
                at += size
        if size == 1 or not tries:
            return program
        size //= 2
