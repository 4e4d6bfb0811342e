"""What a frame is used as: a type with a count of its users, the rule that keeps page tables out of
guests' hands.

The high half of `Frame.info` holds a type (PGT_*) and how many references want the frame to be of
that type. While the count is not zero the type cannot change: so a frame that is a page table, or
holds segment descriptors, is never also mapped writable. When the count falls to zero the type
stays, as a hint, until another is wanted.

A type counts only when it is *validated*. Whoever counts the first user of a new type first flushes
translations of the old use from every processor that may still hold them, then checks every entry
of a page table, every descriptor (a writable frame has nothing to check), and only then publishes
the type. Others who want the frame as writable meanwhile serve their mailbox and wait; the owner's
page_lock keeps them away from tables and descriptors.

Which processors may hold translations, `stamp` tells: the TLB clock when the last user let go.
Everybody who lets go moves it, forward only, before the count falls, so that no order of users
leaves an earlier time behind.

Checking a tree of page tables can be long, so it can stop half way: such a table is PGT_partial
(kernel/frames/table_type.py).

Locks: table and descriptor types of a domain's frames change under its page_lock. The writable type
takes no lock.
"""

import abi
from kpy import (
    Ptr,
    atomic_and,
    atomic_cas,
    atomic_load,
    atomic_or,
    atomic_sub,
    cold,
    inline,
    noinline,
    ref,
    u32,
    u64,
)

from kernel.base.ids import Mfn
from kernel.frames.descriptor_check import descriptors_okay
from kernel.frames.frame import (
    MOST_REFERENCES,
    REFERENCE_MASK,
    get_frame,
    owner_id,
    page_at,
    put_frame,
    release_frame,
)
from kernel.state.domain import Domain
from kernel.state.frame_table import Frame, frame_at, frame_valid, mfn_of
from kernel.trace.wide import trace_value_1
from kernel.x86.cpu import pause
from kernel.x86.ipi import flush_tlb_mask, serve_mailbox
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush, later, tlb_clock_now

TYPE_ONE = 1 << 32
TYPE_COUNT_MASK = ((1 << 26) - 1) << 32
PGT_partial = 1 << 58
PGT_validated = 1 << 59
PGT_pinned = 1 << 60
PGT_TYPE_SHIFT = 61
PGT_type_mask = 7 << PGT_TYPE_SHIFT
PGT_none = 0
PGT_l1_page_table = 1 << PGT_TYPE_SHIFT  # L1 to L4: the level, shifted
PGT_l4_page_table = 4 << PGT_TYPE_SHIFT
PGT_seg_desc_page = 5 << PGT_TYPE_SHIFT
PGT_writable_page = 7 << PGT_TYPE_SHIFT

# What `begin_type` says.
TYPE_READY = 0  # counted
TYPE_BUSY = 1  # the frame is in use as something else
TYPE_FRESH = 2  # counted, the first; the caller must validate it
TYPE_PARTIAL = 3  # counted, in place of the partial state; the caller must go on validating


@inline
def table_type(level: u32) -> u64:
    """Return the type of a page table of a level, 1 to 4."""
    return u64(level) << PGT_TYPE_SHIFT


@inline
def table_level(info: u64) -> u32:
    """Return the level of a page table, 1 to 4; 0 or more than 4 when the frame is none."""
    return u32(info >> PGT_TYPE_SHIFT)


@inline
def is_table(info: u64) -> bool:
    """Say whether a frame is a page table in force, one whose entries may be changed by request:
    while it is validated it has users.
    """
    is_typed = PGT_l1_page_table <= (info & PGT_type_mask) <= PGT_l4_page_table
    return is_typed and info & PGT_validated != 0


@noinline
def begin_type(frame: Ptr[Frame], wanted: u64) -> u32:
    """Count one more user of a frame as `wanted`. The caller holds a reference. Returns: TYPE_*."""
    info = atomic_load(ref(frame.info))
    while True:
        is_unused = info & TYPE_COUNT_MASK == 0
        new = info + TYPE_ONE
        if is_unused and info & PGT_type_mask != wanted:
            new = new & ~(PGT_type_mask | PGT_validated) | wanted
            if may_outlast(info & PGT_type_mask, wanted):
                new |= PGT_validated
        elif info & PGT_type_mask != wanted or info & TYPE_COUNT_MASK == TYPE_COUNT_MASK:
            return TYPE_BUSY
        elif not is_unused and info & PGT_validated == 0:
            if info & PGT_partial == 0:
                if wanted != PGT_writable_page:
                    return TYPE_BUSY
                info = look_again(frame)
                continue
            new = info & ~PGT_partial
        found, done = atomic_cas(ref(frame.info), info, new)
        if done:
            break
        info = found
    if info & PGT_partial:
        return TYPE_PARTIAL
    if info & PGT_type_mask != wanted:
        trace_type_change(frame, info, wanted)
    if new & PGT_validated:
        return TYPE_READY
    if info & PGT_type_mask != wanted:
        # Any processor may hold translations of the old use, not only the owner's: who mapped the
        # frame by a grant may have dropped the entry without a flush. The new type is counted
        # already, so no more of them can come.
        flush_tlb_mask(cpus_needing_flush(online_cpus(), frame.stamp))
    if wanted != PGT_writable_page:
        return TYPE_FRESH
    end_type(frame)
    return TYPE_READY


@cold
def look_again(frame: Ptr[Frame]) -> u64:
    """Wait a little for the processor that flushes before a frame becomes writable. Returns: `info`
    now.
    """
    serve_mailbox()
    pause()
    return atomic_load(ref(frame.info))


@inline
def trace_type_change(frame: Ptr[Frame], info: u64, wanted: u64) -> None:
    """Record that a frame takes up another use."""
    types = u32(info >> PGT_TYPE_SHIFT) | u32(wanted >> PGT_TYPE_SHIFT) << 8
    trace_value_1(abi.TRC_PROXEN_PAGE_TYPE, u64(mfn_of(frame)), types)


@inline
def may_outlast(old: u64, wanted: u64) -> bool:
    """Say whether translations of an old use may stay in force under a new one.

    Writable translations of a table to be may not, and cached entries of a former table neither.
    """
    return wanted == PGT_writable_page and old in (PGT_none, PGT_seg_desc_page)


@inline
def end_type(frame: Ptr[Frame]) -> None:
    """Declare a type that `begin_type` counted to be valid."""
    atomic_or(ref(frame.info), PGT_validated)


@inline
def fail_type(frame: Ptr[Frame]) -> None:
    """Take a type back that `begin_type` counted and that could not be validated."""
    atomic_sub(ref(frame.info), TYPE_ONE)


@inline
def share_writable(frame: Ptr[Frame]) -> bool:
    """Take a reference and a type reference to a frame that is writable memory already.

    Returns: False when it is not, or free.
    """
    info = atomic_load(ref(frame.info))
    while True:
        count = info & REFERENCE_MASK
        if (
            info & (PGT_type_mask | PGT_validated) != PGT_writable_page | PGT_validated
            or info & TYPE_COUNT_MASK == TYPE_COUNT_MASK
            or count == 0
            or count >= MOST_REFERENCES
        ):
            return False
        info, done = atomic_cas(ref(frame.info), info, info + (TYPE_ONE + 1))
        if done:
            return True


@inline
def advance_stamp(frame: Ptr[Frame]) -> None:
    """Note that there may have been translations of a frame until now."""
    now = tlb_clock_now()
    if frame.stamp != now:
        move_stamp(frame, now)


@noinline
def move_stamp(frame: Ptr[Frame], now: u32) -> None:
    """Move a stamp forward; one that is later already stays."""
    found = atomic_load(ref(frame.stamp))
    while later(found, now) != found:
        found, done = atomic_cas(ref(frame.stamp), found, now)
        if done:
            return


@inline
def drop_type(frame: Ptr[Frame], references: u64) -> u64:
    """Take one type reference of a frame that is no page table away, and 0 or 1 references with it.

    Returns: `info` before.
    """
    advance_stamp(frame)
    info = atomic_sub(ref(frame.info), TYPE_ONE + references)
    assert info & TYPE_COUNT_MASK != 0, "a frame has fewer type references than users"
    return info


@inline
def put_frame_type(mfn: Mfn) -> None:
    """Give a type reference back, writable or seg_desc."""
    drop_type(frame_at(mfn), 0)


@inline
def put_frame_and_type(mfn: Mfn) -> None:
    """Give a reference and a type reference, writable or seg_desc, back."""
    frame = frame_at(mfn)
    if drop_type(frame, 1) & REFERENCE_MASK == 1:
        release_frame(frame)


@inline
def get_writable_type(mfn: Mfn) -> bool:
    """Take a writable type reference to a frame that the caller has a reference to.

    Returns: False when it is in use as something else.
    """
    frame = frame_at(mfn)
    info = atomic_load(ref(frame.info))
    if (
        info & (PGT_type_mask | PGT_validated) == PGT_writable_page | PGT_validated
        and info & TYPE_COUNT_MASK != TYPE_COUNT_MASK
    ):
        _, done = atomic_cas(ref(frame.info), info, info + TYPE_ONE)
        if done:
            return True
    return begin_type(frame, PGT_writable_page) == TYPE_READY


def get_frame_type(mfn: Mfn, wanted: u64) -> bool:
    """Take a type reference, writable or seg_desc, to a frame that the caller has a reference to.

    Returns: False when it is in use as something else, or holds a descriptor that no guest may
    have.
    Locks: for PGT_seg_desc_page the owner's page_lock.
    """
    frame = frame_at(mfn)
    outcome = begin_type(frame, wanted)
    if outcome != TYPE_FRESH:
        return outcome == TYPE_READY
    if not descriptors_okay(page_at(mfn)):
        fail_type(frame)
        return False
    end_type(frame)
    return True


def get_frame_and_type(mfn: Mfn, d: Ptr[Domain], wanted: u64) -> bool:
    """Take a reference and a type reference, writable or seg_desc, to a frame of domain `d`.

    Returns: whether that was possible.
    """
    if wanted == PGT_writable_page:
        return get_writable_frame(mfn, d)
    if not get_frame(mfn, d):
        return False
    if not get_frame_type(mfn, wanted):
        put_frame(mfn)
        return False
    return True


def get_writable_frame(mfn: Mfn, d: Ptr[Domain]) -> bool:
    """Take a reference and a writable type reference to a frame of domain `d`.

    One that is another's keeps its type: only who holds a frame of the right owner may change it.
    """
    if not frame_valid(mfn) or owner_id(mfn) != d.domain_id:
        return False
    if not share_writable(frame_at(mfn)):
        return become_writable(mfn, d)
    if owner_id(mfn) == d.domain_id:
        return True
    put_frame_and_type(mfn)
    return False


@noinline
def become_writable(mfn: Mfn, d: Ptr[Domain]) -> bool:
    """Do the same for a frame that is no writable one so far."""
    if not get_frame(mfn, d):
        return False
    if begin_type(frame_at(mfn), PGT_writable_page) == TYPE_READY:
        return True
    put_frame(mfn)
    return False


@inline
def level_in_force(frame: Ptr[Frame]) -> u32:
    """Return the level of a page table in force, one whose entries may be changed by request; 0 for
    any other frame.

    The owner's page_lock keeps it what it is.
    """
    info = atomic_load(ref(frame.info))
    return table_level(info) if is_table(info) else 0


@inline
def holds_descriptors(mfn: Mfn) -> bool:
    """Say whether a frame that the caller holds is in use as a descriptor table."""
    info = frame_at(mfn).info
    return info & PGT_type_mask == PGT_seg_desc_page and info & TYPE_COUNT_MASK != 0


@inline
def held_descriptors(mfn: Mfn) -> bool:
    """Say whether a frame that the caller holds is a descriptor table, or was one last."""
    return atomic_load(ref(frame_at(mfn).info)) & PGT_type_mask == PGT_seg_desc_page


@inline
def set_pinned(frame: Ptr[Frame]) -> bool:
    """Mark a table as pinned. Returns: False when it was already."""
    return atomic_or(ref(frame.info), PGT_pinned) & PGT_pinned == 0


@inline
def clear_pinned(frame: Ptr[Frame]) -> bool:
    """Remove the mark of a pinned table. Returns: False when there was none."""
    return atomic_and(ref(frame.info), ~PGT_pinned) & PGT_pinned != 0
