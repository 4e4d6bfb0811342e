"""Validating a tree of page tables, and taking it apart again, in steps that can stop anywhere.

Both walk the tree without recursion, with one cursor per level in a `Walk`. The entries of a table
before its cursor hold their references; so validation moves cursors up and release moves them down,
and a walk that stops (more urgent work, or a bad entry) leaves every table that it was in as
partial with its cursor (kernel/frames/table_type.py): enough for either walk to go on from there.
An L1 table is short enough to be done in one go.

Locks: the page_lock of the domain that owns the tables.
"""

from kpy import Array, Ptr, inline, struct, truncate, u32, u64

from kernel.base.ids import Mfn
from kernel.frames.table_type import suspend_table
from kernel.x86.preempt import preempt_pending

# In a cursor: the entry there leads to a table that is partial itself.
CHILD_IS_PARTIAL = 1 << 31
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
def enter_table(walk: Ptr[Walk], level: u32, table: Mfn, cursor: u32) -> None:
    """Make a table the one in work; `cursor` tells where to begin."""
    walk.level = level
    walk.tables[level] = table
    walk.cursors[level] = u64(cursor & CURSOR_MASK)
    walk.has_partial_child[level] = cursor & CHILD_IS_PARTIAL != 0


def is_time_to_stop(walk: Ptr[Walk]) -> bool:
    """Say whether something more urgent waits. Asked after each child, be it one entry's or a whole
    table left behind, it looks now and then.
    """
    walk.nr_children += 1
    return walk.nr_children % CHILDREN_PER_LOOK == 0 and preempt_pending()


def suspend(walk: Ptr[Walk]) -> None:
    """Leave all tables that a walk is in as partial ones."""
    for level in range(walk.level, walk.top + 1):
        cursor = truncate(u32, walk.cursors[level])
        if level > walk.level or walk.has_partial_child[level]:
            cursor |= CHILD_IS_PARTIAL
        suspend_table(walk.tables[level], cursor)
