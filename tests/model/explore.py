"""Every order of a race that can make a difference.

    judge = Judge(race)                       # tests/model/judge.py
    for schedule, outcome in explore(race, most_stops=2):
        assert not judge.problem(outcome), race.explain(schedule)

A stop makes a difference only before an access to memory that the processor to go on accesses, too,
one of the two writing: any other can be moved past the access. What each processor accesses is seen
as schedules run, so all are looked at again until none shows anything new: then whatever was left
out is, access by access, the same as something that ran.
"""

import struct
from collections import defaultdict

from kpy.lower.switch_points import LOAD, STORE

from tests.model.processors import OWN_STEP, STOP
from tests.model.race import ENTRY, Schedule, Stop

LOADS, STORES = 1, 2  # how a word is accessed; in `Footprints.words` two such bits a processor
ALL_STORES = STORES * 0x5555
PLACE = struct.Struct("<Q4xIII")  # of an ENTRY of a log: address, site, processor, size


def explore(race, most_stops=2, choose=None):
    """Run every schedule of a race with up to `most_stops` stops, on any processor, that can make a
    difference; yield each with its outcome. `choose(list of schedules)` may take some of those that
    begin alike, as a sample.
    """
    exploration = Exploration(race, most_stops, choose)
    growth = None
    while growth is None or not choose and growth != exploration.footprints.growth:
        growth = exploration.footprints.growth
        for first in race.racers:
            yield from exploration.visit(Schedule(first))


class Exploration:
    """The schedules of a race that ran so far."""

    def __init__(self, race, most_stops, choose):
        self.race, self.most_stops, self.choose = race, most_stops, choose
        self.footprints = Footprints(race)
        self.logs = {}  # schedule: its log, b"" where one more stop is of no use
        self.longer = {}  # schedule: those with one stop more, and how much was known then

    def visit(self, schedule):
        """Run a schedule, if it has not run, and those with more stops behind its last."""
        if schedule not in self.logs:
            outcome, log = self.race.run(schedule), self.race.log()
            self.footprints.add(log)
            self.logs[schedule] = log if self.is_of_use(schedule, log) else b""
            yield schedule, outcome
        if self.logs[schedule]:
            for longer in self.with_one_more(schedule):
                yield from self.visit(longer)

    def with_one_more(self, schedule):
        """Return the schedules with one more stop, as far as memory is known to be shared."""
        known, growth = self.longer.get(schedule, ((), None))
        if growth != self.footprints.growth:
            growth = self.footprints.growth
            stops = next_stops(self.race, self.footprints.rivals(), self.logs[schedule])
            known = [Schedule(schedule.first, (*schedule.stops, stop)) for stop in stops]
            if self.choose and known:
                known = self.choose(known)
            self.longer[schedule] = known, growth
        return known

    def is_of_use(self, schedule, log):
        """Whether more stops behind a schedule's last make a difference. Not where, before the
        stopped processor went on, nobody accessed what its access is about: the same as later.
        """
        if len(schedule.stops) == self.most_stops:
            return False
        return not schedule.stops or is_effective(self.race, schedule.stops[-1], log)


def end_of_stops(entries):
    """Return the index behind a log's last stop."""
    return max((i for i, entry in enumerate(entries) if entry[2] == STOP), default=-1) + 1


def next_stops(race, rivals, log):
    """Return the stops behind a log's last before which they make a difference."""
    entries = [*ENTRY.iter_unpack(log)]
    begin = end_of_stops(entries)
    passed = {cpu: number for _, number, _, cpu, _ in entries[:begin]}
    last = {entry[3]: i for i, entry in enumerate(entries)}
    found = {}
    for i in range(begin, len(entries)):
        address, number, site, cpu, size = entries[i]
        for other in rivals.get((address, site, cpu, size), ()):
            if last.get(other, -1) > i and number > passed.get(cpu, 0):
                found[Stop(race.names[cpu], number, race.names[other])] = None
    return [*found]


def is_effective(race, stop, log):
    """Whether processors that went on at a log's last stop accessed, before the stopped one did
    so, what its access is about, one of the two writing.
    """
    entries, me = [*ENTRY.iter_unpack(log)], race.cpus[stop.racer]
    between, own = Footprints(race), set()
    for address, number, site, cpu, size in entries:
        if (cpu, number) == (me, stop.at):
            own.add((address, site, cpu, size))
    for address, _, site, cpu, size in entries[end_of_stops(entries) :]:
        if cpu == me:
            break
        between.add_access(address, site, cpu, size)
    return any(between.rivals_of(*place) for place in own)


class Footprints:
    """Which memory each processor has accessed, and how."""

    def __init__(self, race):
        self.race, self.known, self.found = race, set(), None
        self.words = defaultdict(int)
        self.growth = 0  # how often it was news that processors access the same memory

    def add(self, log):
        """Note all accesses of a log."""
        places = set(PLACE.iter_unpack(log)) - self.known
        if places:
            self.known |= places
            self.found = None
            for place in places:
                self.add_access(*place)

    def add_access(self, address, site, cpu, size):
        """Note an access."""
        if site in (STOP, OWN_STEP):
            return
        how = self.how(site) << 2 * cpu
        for word in self.words_of(address, site, size):
            before = self.words[word]
            if before | how != before:
                self.words[word] = before | how
                self.growth += before & ~(3 << 2 * cpu) != 0

    def how(self, site):
        """Return how an access loads and stores."""
        kind = self.race.kind_of(site)
        return LOADS if kind == LOAD else STORES if kind == STORE else LOADS | STORES

    def words_of(self, address, site, size):
        """Return the numbers of the words that an access is about."""
        size = size or self.race.machine.points.sites[site].size
        return range(address >> 3, (address + max(size, 1) + 7) >> 3)

    def rivals(self):
        """Return, for accesses that have any, the numbers of the processors that accessed the same
        memory, one of the two writing.
        """
        if self.found is None:
            found = ((place, self.rivals_of(*place)) for place in self.known)
            self.found = {place: rivals for place, rivals in found if rivals}
        return self.found

    def rivals_of(self, address, site, cpu, size):
        """Return them for one access."""
        if site in (STOP, OWN_STEP):
            return []
        touched, is_load = 0, self.how(site) == LOADS
        for word in self.words_of(address, site, size):
            bits = self.words.get(word, 0)
            touched |= bits & ALL_STORES if is_load else bits
        return [n for n in self.race.names if n != cpu and touched >> 2 * n & 3]
