"""Validating a tree of page tables, and taking it apart again, in steps that can stop anywhere.

Both walk the tree without recursion, with one cursor per level in a `Walk`. The entries of a table
before its cursor hold their references; so validation moves cursors up and release moves them down,
and a walk that stops (more urgent work, or a bad entry) leaves every table that it was in as
PGT_partial with the cursor in `stamp`: enough for either walk to go on from there. An L1 table is
short enough to be done in one go.

The partial state owns the reference and type reference of the entry, or pin, or base pointer, that
the table was wanted for.
Locks: the page_lock of the domain that owns the tables.
"""

import abi
from kpy import (
    Array,
    Ptr,
    atomic_cas,
    atomic_load,
    atomic_or,
    atomic_sub,
    i64,
    inline,
    ref,
    struct,
    truncate,
    u32,
    u64,
)

from kernel.domain import Domain
from kernel.frame import get_frame, page_at, put_frame
from kernel.frame_table import frame_at, frame_valid
from kernel.ids import Mfn
from kernel.l4_slots import fill_guest_l4
from kernel.page_entry import (
    UPPER_DISALLOWED,
    adjusted_l1e,
    adjusted_upper,
    entry_mfn,
    is_core_slot,
)
from kernel.page_table import PageOwner, get_l1e_frame, put_l1e
from kernel.page_type import (
    TYPE_BUSY,
    TYPE_COUNT_MASK,
    TYPE_ONE,
    TYPE_PARTIAL,
    TYPE_READY,
    PGT_partial,
    PGT_type_mask,
    PGT_validated,
    begin_type,
    end_type,
    fail_type,
    table_type,
)
from kernel.preempt import preempt_pending
from kernel.x86.bits import PTE_PRESENT, PTE_WRITE
from kernel.x86.tlb import tlb_clock_now

ENTRIES = 512
CHILD_IS_PARTIAL = (
    1 << 31
)  # in `stamp`: the entry at the cursor leads to a table that is partial itself
CURSOR_MASK = 0xFFFF
CHILDREN_PER_LOOK = 16  # children done between two looks for more urgent work

WALK_GOES_ON = 0
WALK_DONE = 1


@struct
class Walk:
    top: u32
    level: u32  # of the table in work
    nr_children: u32
    tables: Array[Mfn, 5]  # by level
    cursors: Array[u64, 5]
    has_partial_child: Array[bool, 5]


@inline
def enter_table(walk: Ptr[Walk], level: u32, table: Mfn, stamp: u32) -> None:
    """Make a table the one in work; `stamp` tells where to begin."""
    walk.level = level
    walk.tables[level] = table
    walk.cursors[level] = u64(stamp & CURSOR_MASK)
    walk.has_partial_child[level] = stamp & CHILD_IS_PARTIAL != 0


def is_time_to_stop(walk: Ptr[Walk]) -> bool:
    """Say whether something more urgent waits. Asked after each child, it looks now and then."""
    walk.nr_children += 1
    return walk.nr_children % CHILDREN_PER_LOOK == 0 and preempt_pending()


def suspend(walk: Ptr[Walk]) -> None:
    """Leave all tables that a walk is in as partial ones."""
    for level in range(walk.level, walk.top + 1):
        frame = frame_at(walk.tables[level])
        frame.stamp = truncate(u32, walk.cursors[level])
        if level > walk.level or walk.has_partial_child[level]:
            frame.stamp |= CHILD_IS_PARTIAL
        atomic_or(ref(frame.info), PGT_partial)


# Validation


def promote(d: Ptr[Domain], table: Mfn, level: u32, stamp: u32) -> i64:
    """Validate a table that `begin_type` has counted as fresh (`stamp` 0) or partial (`stamp` from
    the frame).

    Returns: 0, and the table is valid.
    Errors: -ERESTART, and -EINVAL and others for a bad entry, with the table partial; a table of
    level 1 is then as before.
    """
    if level == 1:
        return promote_l1(d, table)
    walk = Walk(top=level)
    enter_table(ref(walk), level, table, stamp)
    while True:
        result = promote_step(d, ref(walk))
        if result == WALK_DONE:
            return 0
        if result < 0:
            suspend(ref(walk))
            return result


def promote_step(d: Ptr[Domain], walk: Ptr[Walk]) -> i64:
    """Validate entries of the table in work until one leads down to a table that must be validated
    first, or all are done.
    """
    level = walk.level
    table = page_at(walk.tables[level])
    while walk.cursors[level] < ENTRIES:
        index = walk.cursors[level]
        entry = table[index]
        if entry & PTE_PRESENT and not is_core_slot(level, index):
            result = promote_child(d, walk, entry)
            if result != 0 or walk.level != level:
                return result
            table[index] = adjusted_upper(entry)
            walk.cursors[level] = index + 1
            if is_time_to_stop(walk):
                return -abi.ERESTART
        else:
            walk.cursors[level] = index + 1
    if level == 4:
        fill_guest_l4(table, d)
    end_type(frame_at(walk.tables[level]))
    if level == walk.top:
        return WALK_DONE
    leave_child(walk)
    return WALK_GOES_ON


def leave_child(walk: Ptr[Walk]) -> None:
    """Go back up to the entry that leads to the table just validated, and past it."""
    walk.level += 1
    level = walk.level
    parent = page_at(walk.tables[level])
    index = walk.cursors[level]
    parent[index] = adjusted_upper(parent[index])
    walk.cursors[level] = index + 1
    walk.has_partial_child[level] = False


def promote_child(d: Ptr[Domain], walk: Ptr[Walk], entry: u64) -> i64:
    """Take the references of an entry; the table that it leads to becomes the one in work if it
    must be validated.

    Errors: -EINVAL, bits that are not allowed, a frame that is not the domain's or in use as
    something else, or bad itself.
    """
    if entry & UPPER_DISALLOWED:
        return -abi.EINVAL
    child = entry_mfn(entry)
    if not get_frame(child, d):
        return -abi.EINVAL
    frame = frame_at(child)
    outcome = begin_type(frame, table_type(walk.level - 1))
    if outcome == TYPE_READY:
        return 0
    if outcome == TYPE_BUSY:
        put_frame(child)
        return -abi.EINVAL
    if walk.level == 2:
        return promote_l1_child(d, child)
    stamp: u32 = 0
    if outcome == TYPE_PARTIAL:
        stamp = frame.stamp
        put_frame(child)  # the partial state had a reference, now the entry's
    enter_table(walk, walk.level - 1, child, stamp)
    return 0


def promote_l1_child(d: Ptr[Domain], child: Mfn) -> i64:
    """Validate the L1 table that an L2 entry leads to; a bad one loses the references again."""
    result = promote_l1(d, child)
    if result != 0:
        put_frame(child)
    return result


def promote_l1(d: Ptr[Domain], table: Mfn) -> i64:
    """Validate an L1 table: take the references of all its entries.

    Errors: as `get_l1e_frame`; then no reference is left, and the type reference is taken back.
    """
    owner = PageOwner(domain_id=d.domain_id, domain=d)
    entries = page_at(table)
    for i in range(ENTRIES):
        l1e = entries[i]
        if l1e & PTE_PRESENT:
            result = get_l1e_frame(l1e, d, ref(owner))
            if result < 0:
                demote_l1(d, table, i)
                fail_type(frame_at(table))
                return result
            new = adjusted_l1e(l1e & ~PTE_WRITE if result == PTE_WRITE else l1e)
            if new != l1e:
                entries[i] = new
    end_type(frame_at(table))
    return 0


# Release


def demote(d: Ptr[Domain], table: Mfn, level: u32) -> i64:
    """Take a partial table apart, and give back what its partial state owns.

    Returns: 0. Errors: -ERESTART, it is still partial, but less is left.
    """
    walk = Walk(top=level)
    enter_table(ref(walk), level, table, frame_at(table).stamp)
    while True:
        result = demote_step(d, ref(walk))
        if result == WALK_DONE:
            return 0
        if result < 0:
            suspend(ref(walk))
            return result


def demote_step(d: Ptr[Domain], walk: Ptr[Walk]) -> i64:
    """Give up entries of the table in work until one leads down to a table that must be taken apart
    first, or none is left.
    """
    level = walk.level
    table = page_at(walk.tables[level])
    if walk.has_partial_child[level]:
        walk.has_partial_child[level] = False
        child = entry_mfn(table[walk.cursors[level]])
        if is_partial(d, child, level - 1):
            enter_table(walk, level - 1, child, frame_at(child).stamp)
            return WALK_GOES_ON
    while walk.cursors[level] > 0:
        index = walk.cursors[level] - 1
        walk.cursors[level] = index
        entry = table[index]
        if entry & PTE_PRESENT and not is_core_slot(level, index):
            child = entry_mfn(entry)
            if drop_table(d, child, level - 1):
                enter_table(walk, level - 1, child, ENTRIES)
                return WALK_GOES_ON
            if is_time_to_stop(walk):
                return -abi.ERESTART
    finish_demotion(walk.tables[level])
    if level == walk.top:
        return WALK_DONE
    walk.level = level + 1
    return WALK_GOES_ON


def is_partial(d: Ptr[Domain], table: Mfn, level: u32) -> bool:
    """Say whether a frame is a partial table of a level, and the domain's."""
    if not frame_valid(table) or frame_at(table).owner != d.domain_id:
        return False
    info = atomic_load(ref(frame_at(table).info))
    return info & (PGT_type_mask | PGT_partial) == table_type(level) | PGT_partial


def finish_demotion(table: Mfn) -> None:
    """Turn a table none of whose entries holds references any more into an untyped frame."""
    frame = frame_at(table)
    frame.stamp = tlb_clock_now()
    old = atomic_load(ref(frame.info))
    atomic_sub(ref(frame.info), TYPE_ONE + (old & PGT_partial))
    put_frame(table)


def drop_table(d: Ptr[Domain], table: Mfn, level: u32) -> bool:
    """Give a reference and a table type reference of `level` back.

    Returns: True when that was the last of the type and there is more to do: the table is partial
    now, with all its entries, and `demote` must follow.
    """
    frame = frame_at(table)
    info = atomic_load(ref(frame.info))
    while True:
        is_last = info & TYPE_COUNT_MASK == TYPE_ONE
        new = info - TYPE_ONE
        if is_last:
            new = info & ~PGT_validated | PGT_partial
        found, done = atomic_cas(ref(frame.info), info, new)
        if done:
            break
        info = found
    if is_last and level > 1:
        frame.stamp = ENTRIES
        return True
    if is_last:
        demote_l1(d, table, ENTRIES)
        finish_demotion(table)
    else:
        put_frame(table)
    return False


def demote_l1(d: Ptr[Domain], table: Mfn, count: u64) -> None:
    """Give the references of the first `count` entries of an L1 table back."""
    entries = page_at(table)
    for i in range(count):
        put_l1e(entries[i], d)
