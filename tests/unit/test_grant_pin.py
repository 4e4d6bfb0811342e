"""Pinning grants: what the entry must say, what the guest sees, and that references balance."""

import abi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

from kernel.grant.pin import MAPPABLE
from kernel.state.domain import Domain
from kernel.state.grant_table import (
    ActivePage,
    GNTPIN_devr_inc,
    GNTPIN_hstr_inc,
    GNTPIN_hstw_inc,
    SharedGrantPage,
)
from kernel.x86.percpu import Pcpu

OWNER, USER, STRANGER = 1, 2, 3
FRAME = 0x1234
READ, WRITE = abi.GTF_reading, abi.GTF_writing


class Machine:
    """A granter with one frame of grants; the frame table is a dictionary of counts."""

    def __init__(self):
        self.references, self.types, self.foreign = {}, {}, set()
        self.untyped = set()
        self.program = p = jit.load(
            "kernel.grant.pin",
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.ipi.serve_mailbox": lambda: None,
                "kernel.frames.frame.get_frame": self.get_frame,
                "kernel.frames.frame.put_frame": lambda mfn: self.count(self.references, mfn, -1),
                "kernel.frames.page_type.get_frame_type": self.get_type,
                "kernel.frames.page_type.put_frame_type": lambda mfn: self.count(
                    self.types, mfn, -1
                ),
            },
        )
        self.cpu = p.new(Pcpu)
        self.start_over()

    def start_over(self):
        p = self.program
        self.references.clear()
        self.types.clear()
        self.foreign.clear()
        self.untyped.clear()
        self.granter = p.new(Domain, domain_id=OWNER)
        self.granter.grant.nr_frames = 1
        self.granter.grant.shared[0] = p.new(SharedGrantPage)
        for i in range(2):
            self.granter.grant.active[i] = p.new(ActivePage)

    def get_frame(self, mfn, d):
        if mfn in self.foreign:
            return False
        self.count(self.references, mfn, 1)
        return True

    def get_type(self, mfn, type_):
        if mfn in self.untyped:
            return False
        self.count(self.types, mfn, 1)
        return True

    @staticmethod
    def count(table, mfn, change):
        table[mfn] = table.get(mfn, 0) + change
        assert table[mfn] >= 0
        if table[mfn] == 0:
            del table[mfn]

    def grant(self, number, flags=abi.GTF_permit_access, user=USER, frame=FRAME):
        entry = self.granter.grant.shared[0].entries[number]
        entry.flags, entry.domid, entry.frame = flags, user, frame
        return entry

    def pin(self, number, user=USER, readonly=False, unit=None):
        if unit is None:
            unit = GNTPIN_hstr_inc if readonly else GNTPIN_hstw_inc
        return self.program.pin_grant(self.granter, number, user, readonly, unit, MAPPABLE)

    def unpin(self, number, readonly=False, unit=None):
        if unit is None:
            unit = GNTPIN_hstr_inc if readonly else GNTPIN_hstw_inc
        self.program.unpin_grant(self.granter, number, FRAME, readonly, unit)
        self.program.unreference(FRAME, readonly)


def test_pin_and_unpin(machine):
    """The guest sees the use while it lasts."""
    entry = machine.grant(3)
    assert machine.pin(3) == FRAME
    assert entry.flags == abi.GTF_permit_access | READ | WRITE
    assert machine.references == {FRAME: 1} and machine.types == {FRAME: 1}
    machine.unpin(3)
    assert entry.flags == abi.GTF_permit_access
    assert machine.references == {} and machine.types == {}


@pytest.mark.parametrize("number", [512, 1 << 20, (1 << 32) - 1])
def test_past_the_table(machine, number):
    """No such entry."""
    assert machine.pin(number) == abi.GNTST_bad_gntref


@pytest.mark.parametrize(
    "flags",
    [
        abi.GTF_invalid,
        abi.GTF_accept_transfer,
        abi.GTF_transitive,
        abi.GTF_permit_access | abi.GTF_sub_page,
    ],
)
def test_not_a_grant_to_map(machine, flags):
    """Only plain access to a whole page."""
    machine.grant(1, flags)
    assert machine.pin(1) == abi.GNTST_general_error
    assert machine.references == {}


def test_only_for_whom_it_is(machine):
    """Not for others, be the grant in use or not."""
    machine.grant(1)
    assert machine.pin(1, STRANGER) == abi.GNTST_general_error
    assert machine.pin(1) == FRAME
    machine.grant(1, user=STRANGER)
    assert machine.pin(1, STRANGER) == abi.GNTST_general_error


def test_readonly_grant(machine):
    """May be read, not written, and an attempt to write leaves the reader's pin."""
    entry = machine.grant(1, abi.GTF_permit_access | abi.GTF_readonly)
    assert machine.pin(1) == abi.GNTST_general_error
    assert machine.pin(1, readonly=True) == FRAME
    assert machine.pin(1) == abi.GNTST_general_error
    assert entry.flags == abi.GTF_permit_access | abi.GTF_readonly | READ
    assert machine.types == {} and machine.references == {FRAME: 1}


def test_frame_of_somebody_else(machine):
    """A granter can't grant what it does not own; the entry is as before."""
    entry = machine.grant(1)
    machine.foreign.add(FRAME)
    assert machine.pin(1) == abi.GNTST_bad_page
    assert entry.flags == abi.GTF_permit_access
    assert machine.granter.grant.active[0].entries[1].pin == 0


def test_frame_that_cannot_be_written(machine):
    """A page table, for example, can be granted for reading only."""
    entry = machine.grant(1)
    machine.untyped.add(FRAME)
    assert machine.pin(1) == abi.GNTST_general_error
    assert entry.flags == abi.GTF_permit_access and machine.references == {}
    assert machine.pin(1, readonly=True) == FRAME


def test_later_changes_do_not_count(machine):
    """A second use goes by what the first one read: the guest can't swap the frame under it."""
    entry = machine.grant(1)
    machine.pin(1)
    entry.frame = 0x6666
    assert machine.pin(1) == FRAME


def test_counters_cannot_overflow(machine):
    """128 uses of a kind, then no more; another kind still goes."""
    machine.grant(1)
    for _ in range(128):
        assert machine.pin(1, readonly=True) == FRAME
    assert machine.pin(1, readonly=True) == abi.GNTST_general_error
    assert machine.pin(1, readonly=True, unit=GNTPIN_devr_inc) == FRAME
    assert machine.references == {FRAME: 129}


@settings(max_examples=60, deadline=None)
@given(uses=st.lists(st.booleans(), max_size=20))
def test_flags_follow_the_uses(compiled, uses):
    """Reading while there is any use, writing while there is a writer; in the end nothing."""
    machine = compiled
    machine.start_over()
    entry = machine.grant(7)
    active = []
    for readonly in uses:
        assert machine.pin(7, readonly=readonly) == FRAME
        active.append(readonly)
        assert entry.flags & WRITE == (0 if all(active) else WRITE)
    while active:
        machine.unpin(7, readonly=active.pop())
        assert bool(entry.flags & READ) == bool(active)
        assert bool(entry.flags & WRITE) == (not all(active))
    assert machine.references == {} and machine.types == {}


def test_stranger_to_the_grant_unpins_nothing(machine):
    """A handle that outlived its granter names another domain's grants: they stay as they are."""
    entry = machine.grant(1)
    machine.pin(1, readonly=True)
    unpin = machine.program.unpin_grant
    unpin(machine.granter, 1, FRAME + 1, True, GNTPIN_hstr_inc)
    unpin(machine.granter, 1, FRAME, False, GNTPIN_hstw_inc)
    unpin(machine.granter, 2, FRAME, True, GNTPIN_hstr_inc)
    assert entry.flags == abi.GTF_permit_access | READ
    assert machine.granter.grant.active[0].entries[1].pin == GNTPIN_hstr_inc
