"""Validating a tree of page tables: `promote` takes the references of every entry, and checks it.

How a walk goes and stops is in kernel/paging/tree_walk.py. Locks: the page_lock of the domain that
owns the tables.
"""

import abi
from kpy import Ptr, Tainted, i64, ok, ref, require, u32, u64

from kernel.base.ids import Mfn
from kernel.frames.frame import page_at, put_frame
from kernel.frames.page_owner import PageOwner
from kernel.frames.page_type import TYPE_PARTIAL, TYPE_READY, end_type, fail_type
from kernel.frames.table_type import ENTRIES, cursor_of, get_table
from kernel.paging.demote import demote_l1
from kernel.paging.entry import (
    UPPER_DISALLOWED,
    adjusted_l1e,
    adjusted_upper,
    entry_mfn,
    is_core_slot,
)
from kernel.paging.l1_entry import get_l1e_frame
from kernel.paging.l4_slots import fill_guest_l4
from kernel.paging.tree_walk import (
    WALK_DONE,
    WALK_GOES_ON,
    Walk,
    enter_table,
    is_time_to_stop,
    suspend,
)
from kernel.state.domain import Domain
from kernel.state.frame_table import frame_at
from kernel.x86.bits import PTE_PRESENT, PTE_WRITE


def promote(d: Ptr[Domain], table: Mfn, level: u32, cursor: u32) -> i64:
    """Validate a table that `begin_table` has counted as fresh (`cursor` 0) or partial.

    Returns: 0, and the table is valid.
    Errors: -ERESTART, and -EINVAL and others for a bad entry, with the table partial; a table of
    level 1 is then as before.
    """
    if level == 1:
        return promote_l1(d, table)
    walk = Walk(top=level)
    enter_table(ref(walk), level, table, cursor)
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
            walk.has_partial_child[level] = False  # somebody else has gone on with it
            require(not is_time_to_stop(walk), -abi.ERESTART)
        else:
            walk.cursors[level] = index + 1
    if level == 4:
        fill_guest_l4(table, d)
    end_type(frame_at(walk.tables[level]))
    if level == walk.top:
        return WALK_DONE
    leave_child(walk)
    require(not is_time_to_stop(walk), -abi.ERESTART)
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


def promote_child(d: Ptr[Domain], walk: Ptr[Walk], entry: Tainted[u64]) -> i64:
    """Take the references of an entry; the table that it leads to becomes the one in work if it
    must be validated.

    Errors: -EINVAL, bits that are not allowed, a frame that is not the domain's or in use as
    something else, or bad itself.
    """
    require(entry & UPPER_DISALLOWED == 0, -abi.EINVAL)
    child = entry_mfn(entry)
    outcome = ok(get_table(child, d, walk.level - 1))
    if outcome == TYPE_READY:
        return 0
    if walk.level == 2:
        return promote_l1_child(d, child)
    cursor: u32 = 0
    if outcome == TYPE_PARTIAL:
        cursor = cursor_of(child)
        put_frame(child)  # the partial state had a reference, now the entry's
    enter_table(walk, walk.level - 1, child, cursor)
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
