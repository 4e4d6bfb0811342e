"""What Hypothesis lets the guests of the model do: the parts that all state machines share.

Rules draw small numbers, and `Actors` makes of them what is *nearly right* in the present state: a
frame that the guest owns, one that was freed, a table, an entry with an odd bit. So most calls get
far, and those that must be refused are refused late. After every rule all invariants are checked.
"""

import abi
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant

from tests.model import invariants
from tests.model.guest import (
    BASE,
    CALLBACK,
    FIRST_DATA_PAGE,
    PAGE,
    GuestFault,
    Stopped,
    make,
)
from tests.model.memory import END, FIRST
from tests.model.picture import ADDRESS, PRESENT, WRITE
from tests.model.turns import PAGE_FAULT

numbers = st.integers(0, 255)
bits = st.integers(0, (1 << 20) - 1)
USER, WRITE_THROUGH, CACHE_DISABLE, ACCESSED, DIRTY, LARGE, GLOBAL = (1 << n for n in range(2, 9))
AVAILABLE, NX = 1 << 9, 1 << 63
# What an entry may have besides the frame: the usual, and what must be refused or mended.
FLAGS = [
    PRESENT | USER,
    PRESENT | WRITE | USER,
    PRESENT | WRITE | USER | NX,
    PRESENT | USER | ACCESSED | DIRTY | AVAILABLE,
    PRESENT | WRITE | USER | ACCESSED | DIRTY,
    PRESENT | WRITE,
    PRESENT,
    PRESENT | USER | GLOBAL,
    PRESENT | WRITE | USER | LARGE,
    PRESENT | WRITE | USER | WRITE_THROUGH,
    WRITE | USER,
    0,
]
SLOTS = {
    1: [*range(FIRST_DATA_PAGE, 28), 100, 511],  # not the argument pages
    2: [0, 1, 2, 3, 511],
    3: [0, 1, 510, 511],
    4: [0, 1, 255, 256, 260, 271, 272, 510, 511],
}


def pick(things, number):
    """Choose one of some things by a drawn number."""
    return things[number % len(things)]


class Actors(RuleBasedStateMachine):
    """A machine just started, its guests, and how drawn numbers become arguments."""

    machine = None  # set by `of`
    beginning = None  # a snapshot of the machine with all guests prepared

    @classmethod
    def of(cls, machine):
        """Return this state machine for a machine of the model."""
        return type(cls.__name__, (cls,), {"machine": machine})

    def __init__(self):
        super().__init__()
        self.machine.start_over()
        self.handed_on, self.picture = set(), None
        if self.beginning is None:
            for guest in self.everybody():
                self.prepare(guest)
            type(self).beginning = self.machine.take_snapshot()
        else:
            self.beginning.restore()

    @invariant()
    def isolation_holds(self):
        self.picture = invariants.check(self.machine, self.handed_on)

    def prepare(self, guest):
        """Do what a guest does first: handle its page faults, else one would be its end."""
        handler = {"vector": PAGE_FAULT, "cs": abi.FLAT_KERNEL_CS, "address": CALLBACK}
        table = guest.put(bytes(make(abi.trap_info, **handler)) + bytes(16))
        assert self.call(guest, "set_trap_table", table) == 0

    def page_fault(self, who, error_code, address):
        """Let a guest meet a page fault, which the core mends or hands to its handler."""
        self.machine.trap(who.vcpu(), PAGE_FAULT, error_code, address)

    def call(self, who, name, *arguments, choices=0):
        """Make a hypercall by any vCPU, interrupted as `choices` say; None if it does not run."""
        self.machine.preempt(choices)
        number, vcpu = getattr(abi, f"__HYPERVISOR_{name}"), (choices >> 8) % who.nr_vcpus
        try:
            result = who.call(number, *arguments, vcpu=vcpu)
        except (Stopped, GuestFault):
            result = None
        self.machine.preempt(0)
        return result

    def who(self, number):
        """Choose a guest that can act."""
        everybody = self.everybody()
        for i in range(len(everybody)):
            if self.is_able(pick(everybody, number + i)):
                return pick(everybody, number + i)
        raise AssertionError("not even domain 0 can act")

    def everybody(self):
        """Domain 0 and the guests that still exist."""
        return [*self.machine.guests, self.machine.dom0]

    def is_able(self, guest):
        """Whether a guest can make hypercalls with arguments."""
        if self.machine.domain(guest.id) is None:
            return False
        try:
            guest.write(BASE + 4 * PAGE, b"?")
        except (GuestFault, Stopped):
            return False
        return True

    # Frames

    def frames_of(self, domain_id, is_table=None):
        """Return a domain's frames; only its page tables, or only others, if asked."""
        owned = self.picture.owned
        mine = [f for f in owned.values() if f.owner == domain_id]
        return [f.mfn for f in mine if is_table in (None, f.is_table)] or [0]

    def unused_frames(self, domain_id):
        """Return frames that a domain owns, and nobody maps or uses."""
        mine = [f for f in self.picture.owned.values() if f.owner == domain_id]
        return [f.mfn for f in mine if f.references == 1 and not f.type_count] or [0]

    def tables(self, who, level):
        """Return a guest's frames that are, or were last, page tables of a level."""
        owned = self.picture.owned.values()
        return [f.mfn for f in owned if f.owner == who.id and f.kind == level] or [0]

    def frame(self, who, number):
        """Choose a frame for a guest to name: most often one of its own."""
        kind, number = number % 16, number // 16
        if kind < 4:
            return pick(self.unused_frames(who.id), number)
        if kind < 8:
            return pick(self.frames_of(who.id, is_table=False), number)
        if kind < 12:
            return pick(self.frames_of(who.id, is_table=True), number)
        if kind < 14:
            others = [g for g in self.everybody() if g is not who] or [who]
            return pick(self.frames_of(pick(others, number).id), number // 3)
        if kind == 14:
            return pick(sorted(self.picture.free) or [0], number)
        return pick([0, FIRST, FIRST - 1, END - 1, END, END + 1, ADDRESS >> 12], number)

    def entry(self, who, frame, flags):
        """Make an entry of a frame and flags, both drawn."""
        return self.frame(who, frame) << 12 | pick(FLAGS, flags)
