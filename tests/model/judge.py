"""What must hold after each run of a race.

The invariants hold, nobody panicked, and what the racers got back and the frame table say is what
some order of their steps, each done wholly before the next, would have made of it: a hypercall is
either not yet begun or done, as far as the others can tell. One may also be refused, without
effect, because it met another half way.
"""

import ctypes
from collections import Counter, defaultdict
from itertools import combinations, permutations

import abi
from kpy.front.structs import size_of

from tests.model import invariants, turns
from tests.model.explore import explore
from tests.model.memory import NR_FRAMES, PAGE
from tests.model.picture import Picture, words_at
from tests.model.processors import NR_MODEL_CPUS, Cpu
from tests.model.race import Schedule

HINTLESS = (1 << 58) - 1  # of Frame.info: references and type count
TELL_ELSEWHERE = (abi.__HYPERVISOR_memory_op, abi.__HYPERVISOR_grant_table_op)


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


def serial_orders(race):
    """Every order of the racers' steps, each done wholly before the next."""
    names = [name for name, racer in race.racers.items() for _ in racer.steps]
    return sorted(set(permutations(names)))


def refusals(race, results):
    """Yield which steps may have been left out: none, and any that may have been refused."""
    refused = [
        (name, i)
        for name, racer in race.racers.items()
        for i, step in enumerate(racer.steps)
        if is_refusal(step, results[name][i])
    ]
    for count in range(len(refused) + 1):
        yield from combinations(refused, count)


def is_refusal(step, result):
    """Whether a result may say that nothing was done: an error, a call that tells elsewhere, or a
    fault that was not mended.
    """
    if result is None or step.kind in (turns.READ, turns.WRITE):
        return False
    if step.kind == turns.FAULT:
        return result != turns.EMULATED
    return result < 0 or result == 0 and step.number in TELL_ELSEWHERE


def shown(results, left_out):
    """Results as text, those of steps that were left out as None."""
    return str(
        {
            name: tuple(None if (name, i) in left_out else word for i, word in enumerate(words))
            for name, words in results.items()
        }
    )


def frames_of(machine):
    """Count the frames of each kind: owner, references, type, but for hints that mean nothing, as
    the type that nobody uses. Which frame of the heap somebody gets is of no interest.
    """
    found = Counter()
    for frame in Picture(machine).frames.values():
        if frame.references:
            info = frame.info if frame.type_count else frame.info & HINTLESS
            found[frame.owner, info] += 1
    return found


class Judge:
    """What is wrong after a run of a race."""

    def __init__(self, race, handed_on=(), is_serial=True):
        self.race, self.machine, self.handed_on = race, race.machine, handed_on
        self.verdicts, self.is_serial, self.serial = {}, is_serial, {}
        race.beginning.restore()
        picture = Picture(self.machine)
        self.pages = [self.machine.memory.address(mfn) for mfn in sorted(picture.tables)]
        for domain in picture.domains.values():
            self.pages += [a for a in words_at(int(domain.grant.ref("active")), 4) if a]
            self.pages += picture.maptrack_pages(domain)
        if is_serial:
            self.serial_outcomes(())

    def serial_outcomes(self, left_out):
        """What can come of the race when steps don't mix, and some are left out: by the results,
        the frames.
        """
        if left_out not in self.serial:
            found = self.serial[left_out] = defaultdict(list)
            for order in serial_orders(self.race):
                results = self.race.run_serially(order, left_out).results
                invariants.check(self.machine, self.handed_on)
                found[shown(results, left_out)].append(frames_of(self.machine))
        return self.serial[left_out]

    def problem(self, outcome):
        """Say what is wrong after a run, "" if nothing. A state that was seen before is not looked
        at again.
        """
        if outcome.panic:
            return str(outcome.panic)
        state = hash((str(outcome.results), *self.parts()))
        if state not in self.verdicts:
            self.verdicts[state] = self.look(outcome)
        return self.verdicts[state]

    def look(self, outcome):
        """Look at a state that is new."""
        try:
            invariants.check(self.machine, self.handed_on)
        except AssertionError as error:
            return str(error)
        return self.not_serial(outcome) if self.is_serial else ""

    def not_serial(self, outcome):
        """Say how a run differs from those in which steps don't mix."""
        found, same = frames_of(self.machine), []
        for left_out in refusals(self.race, outcome.results):
            outcomes = self.serial_outcomes(left_out)
            same = outcomes.get(shown(outcome.results, left_out), same)
            if found in same:
                return ""
        if not same:
            return f"no order of the steps gives {outcome.results}, but {[*self.serial[()]]}"
        more, fewer = (
            ", ".join(f"d{owner} {info:#x}" for owner, info in counts.elements())
            for counts in (found - same[0], same[0] - found)
        )
        return f"{outcome.results} in order leaves frames as {fewer}, not {more}"

    def parts(self):
        """Yield what the invariants and the frames look at, but for what differs in every run."""
        memory = self.machine.memory
        frames = memoryview(ctypes.string_at(memory.frame_table, NR_FRAMES * 24)).cast("I")
        for column in range(5):  # all but stamps
            yield frames[column::6].tobytes()
        for address in self.pages:
            yield ctypes.string_at(address, PAGE)
        for domain in self.machine.alive():
            grant = domain.grant
            yield ctypes.string_at(int(grant), size_of(grant.type))
            yield domain.tot_pages, domain.xenheap_pages, domain.refcount, int(domain.kill_phase)
        size, tlb = size_of(Cpu), Cpu.fields["tlb"].offset
        end = Cpu.fields["upper_next"].offset
        address = int(self.machine["tests.model.processors.cpus"])
        for number in range(NR_MODEL_CPUS):
            yield ctypes.string_at(address + number * size + tlb, end - tlb)
