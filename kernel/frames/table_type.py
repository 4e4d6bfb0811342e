"""A page table's type from its first user to its last: counted, validated, in force, taken apart.

Both validating and taking apart can stop half way. The table is PGT_partial then, with one type
reference and one reference of its own, those of the entry, pin or base pointer that it was wanted
for, and `stamp` holds the walk's cursor (kernel/paging/tree_walk.py) instead of a time: nobody
needs one while the type is counted.

Locks: the page_lock of the domain that owns the tables, for all of it.
"""

import abi
from kpy import (
    Ptr,
    Result,
    atomic_cas,
    atomic_load,
    atomic_or,
    atomic_sub,
    inline,
    ref,
    require,
    u32,
)

from kernel.base.ids import Mfn
from kernel.frames.frame import frame_of, get_frame, put_frame, put_reference
from kernel.frames.page_type import (
    TYPE_BUSY,
    TYPE_COUNT_MASK,
    TYPE_ONE,
    PGT_partial,
    PGT_type_mask,
    PGT_validated,
    begin_type,
    table_level,
    table_type,
)
from kernel.state.domain import Domain
from kernel.state.frame_table import Frame, frame_at
from kernel.x86.tlb import tlb_clock_now

ENTRIES = 512  # of a table, and the cursor of one that is validated


@inline
def get_table(mfn: Mfn, d: Ptr[Domain], level: u32) -> Result[u32]:
    """Take a reference to a frame of a domain, and count one more user of it as a page table.

    Returns: TYPE_READY, TYPE_FRESH or TYPE_PARTIAL. Errors: -EINVAL, not the domain's, or in use as
    something else.
    """
    require(get_frame(mfn, d), -abi.EINVAL)
    outcome = begin_type(frame_at(mfn), table_type(level))
    if outcome == TYPE_BUSY:
        put_frame(mfn)
        return -abi.EINVAL
    return outcome


@inline
def cursor_of(mfn: Mfn) -> u32:
    """Return how far the walk came that left a table partial."""
    return frame_at(mfn).stamp


def suspend_table(mfn: Mfn, cursor: u32) -> None:
    """Leave a table partial, with the references of the caller."""
    frame = frame_at(mfn)
    frame.stamp = cursor
    atomic_or(ref(frame.info), PGT_partial)


@inline
def level_of(mfn: Mfn) -> u32:
    """Return the level of a page table, in force or partial."""
    return table_level(frame_at(mfn).info)


@inline
def is_partial(mfn: Mfn) -> bool:
    """Say whether a frame that the caller holds is a partial table."""
    return atomic_load(ref(frame_at(mfn).info)) & PGT_partial != 0


def is_partial_of(d: Ptr[Domain], mfn: Mfn, level: u32) -> bool:
    """Say whether a frame is a partial table of a level, and the domain's. While the page_lock is
    held the partial state keeps it so.
    """
    with frame_of(mfn, d) as frame:
        if frame is None:
            return False
        info = atomic_load(ref(frame.info))
        return info & (PGT_type_mask | PGT_partial) == table_type(level) | PGT_partial


def drop_user(frame: Ptr[Frame]) -> bool:
    """Take a user of a table in force away; its reference stays the caller's.

    Returns: True when it was the last: the table is partial now, with all its entries.
    """
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
    if is_last:
        frame.stamp = ENTRIES
    return is_last


def end_table(frame: Ptr[Frame]) -> None:
    """Turn a table none of whose entries holds references any more into an untyped frame, and give
    the reference back that the partial state owned.
    """
    frame.stamp = tlb_clock_now()
    old = atomic_load(ref(frame.info))
    atomic_sub(ref(frame.info), TYPE_ONE + (old & PGT_partial))
    put_reference(frame)
