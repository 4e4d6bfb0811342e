"""Taking a tree of page tables apart: `demote` gives the references of every entry back.

How a walk goes and stops is in kernel/paging/tree_walk.py. Locks: the page_lock of the domain that
owns the tables.
"""

import abi
from kpy import (
    Ptr,
    bit,
    i64,
    ref,
    require,
    u32,
    u64,
)

from kernel.base.ids import Mfn
from kernel.frames.frame import page_at, put_frame
from kernel.frames.table_type import ENTRIES, cursor_of, drop_user, end_table, is_partial_of
from kernel.paging.entry import entry_mfn, is_core_slot
from kernel.paging.l1_entry import put_l1e
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
from kernel.x86.bits import PTE_PRESENT
from kernel.x86.ipi import drop_lazy_state
from kernel.x86.percpu import cpu_by_id, nr_cpus


def demote(d: Ptr[Domain], table: Mfn, level: u32) -> i64:
    """Take a partial table apart, and give back what its partial state owns.

    Returns: 0. Errors: -ERESTART, it is still partial, but less is left.
    """
    walk = Walk(top=level)
    enter_table(ref(walk), level, table, cursor_of(table))
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
        if is_partial_of(d, child, level - 1):
            enter_table(walk, level - 1, child, cursor_of(child))
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
            require(not is_time_to_stop(walk), -abi.ERESTART)
    finish_demotion(walk.tables[level], level)
    if level == walk.top:
        return WALK_DONE
    walk.level = level + 1
    require(not is_time_to_stop(walk), -abi.ERESTART)
    return WALK_GOES_ON


def finish_demotion(table: Mfn, level: u32) -> None:
    """Let go of a table none of whose entries holds references any more.

    An idle processor may still have the L4 loaded of a vCPU that moved on since: it must leave it,
    before the guest can write to the core's slots in it.
    """
    if level == 4:
        leave_l4(table)
    end_table(frame_at(table))


def drop_table(d: Ptr[Domain], table: Mfn, level: u32) -> bool:
    """Give a reference and a table type reference of `level` back.

    Returns: True when that was the last of the type and there is more to do: the table is partial
    now, with all its entries, and `demote` must follow.
    """
    frame = frame_at(table)
    if not drop_user(frame):
        put_frame(table)
        return False
    if level > 1:
        return True
    demote_l1(d, table, ENTRIES)
    finish_demotion(table, level)
    return False


def demote_l1(d: Ptr[Domain], table: Mfn, count: u64) -> None:
    """Give the references of the first `count` entries of an L1 table back."""
    entries = page_at(table)
    for i in range(count):
        put_l1e(entries[i], d)


def leave_l4(l4: Mfn) -> None:
    """Make idle processors leave an L4 that no vCPU uses any more."""
    cpus: u64 = 0
    for cpu in range(nr_cpus):
        if cpu_by_id(cpu).loaded_cr3 == u64(l4) << 12:
            cpus |= bit(u64(cpu))
    if cpus != 0:
        drop_lazy_state(cpus)
