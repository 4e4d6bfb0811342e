"""The front door to frames: who owns one, and how many references keep it.

The low half of `Frame.info` holds a reference count and flags. A domain's frame starts with one
reference, its allocation (FRAME_ALLOCATED), which the owner can give up; each mapping and each use
by the core takes another. Only when the last one goes does the frame return to the heap, so nobody
ever maps memory that is somebody else's by now.

Whoever acts on a frame that a domain names holds a reference that was taken together with the
check of its owner: `with frame_of(mfn, d) as frame:` for as long as the block lasts, `get_frame`
for longer. Without one a frame may change hands between two looks at it. Outside of this room
nobody looks into a `Frame` (tests/unit/test_front_door.py).
"""

import abi
from kpy import (
    Array,
    Ptr,
    Tainted,
    atomic_and,
    atomic_cas,
    atomic_load,
    atomic_sub,
    gives_back,
    inline,
    noinline,
    ref,
    u64,
)

from kernel.base.ids import DomId, Mfn
from kernel.frames.frame_list import unlink_frame
from kernel.frames.heap import give_block, heap_lock
from kernel.frames.m2p import INVALID_M2P, set_m2p
from kernel.state.domain import Domain, domain_table, find_domain, put_domain
from kernel.state.frame_table import Frame, frame_at, frame_valid, mfn_of
from kernel.x86.memlayout import mfn_to_vaddr
from kernel.x86.tlb import tlb_clock_now

REFERENCE_MASK = (1 << 28) - 1
MOST_REFERENCES = REFERENCE_MASK - 1024  # of guests; the rest is for what the core holds a while
FRAME_CORE = 1 << 29  # a core page that a domain may map
FRAME_ALLOCATED = 1 << 31  # the owner's own reference is among those counted
CORE_OWNER = DomId(abi.DOMID_IDLE)
NO_OWNER = DomId(abi.DOMID_INVALID)  # of a free frame; 0 is domain 0
SCRUBBED = DomId(abi.DOMID_IDLE - 1)  # no domain's number: a free frame is zero, see scrub.py

Page = Tainted[Array[u64, 512]]  # whatever it is used for, a guest wrote what is in it


@inline
def page_at(mfn: Mfn) -> Ptr[Page]:
    """Return a frame's memory in the direct map.

    The caller holds a reference to the frame, or it is the core's.
    """
    return Ptr[Page](u64(mfn_to_vaddr(mfn)))


# References


@inline
def take_reference(frame: Ptr[Frame], limit: u64) -> bool:
    """Add a reference to a frame, whoever's it is.

    Args: limit: MOST_REFERENCES for a guest's uses, REFERENCE_MASK for the core's. Returns: False
    when it is free or the core's, or has `limit` references.
    """
    info = atomic_load(ref(frame.info))
    while True:
        count = info & REFERENCE_MASK
        if count == 0 or count >= limit:
            return False
        info, done = atomic_cas(ref(frame.info), info, info + 1)
        if done:
            return True


@inline
def put_reference(frame: Ptr[Frame]) -> None:
    """Give a reference back; the last one frees the frame."""
    count = atomic_sub(ref(frame.info), 1) & REFERENCE_MASK
    if count <= 1:
        put_last_reference(frame, count)


@noinline
def put_last_reference(frame: Ptr[Frame], count: u64) -> None:
    """Free a frame that had `count` references before the one given back."""
    assert count != 0, "a frame has fewer references than users"
    release_frame(frame)


@gives_back(put_reference)
@inline
def frame_of(mfn: Mfn, d: Ptr[Domain]) -> Ptr[Frame] | None:
    """Hold a frame of domain `d` while a `with` lasts, however often guests have mapped it.

    Returns: None when it is somebody else's, or nobody's.
    """
    if not frame_valid(mfn):
        return None
    frame = frame_at(mfn)
    if not take_reference(frame, REFERENCE_MASK):
        return None
    if frame.owner != d.domain_id:
        put_reference(frame)
        return None
    return frame


@inline
def get_frame_of(mfn: Mfn, owner: DomId) -> bool:
    """Take a reference to a frame if a given domain owns it. Returns: whether it does."""
    if not frame_valid(mfn):
        return False
    frame = frame_at(mfn)
    if not take_reference(frame, MOST_REFERENCES):
        return False
    if frame.owner != owner:
        put_reference(frame)
        return False
    return True


@inline
def get_frame(mfn: Mfn, d: Ptr[Domain]) -> bool:
    """Take a reference to a frame that domain `d` owns. Returns: whether it does."""
    return get_frame_of(mfn, d.domain_id)


@inline
def put_frame(mfn: Mfn) -> None:
    """Give a reference back; the last one frees the frame."""
    put_reference(frame_at(mfn))


def hold_frame(mfn: Mfn) -> None:
    """Take one more reference to a frame that is held already."""
    held = take_reference(frame_at(mfn), REFERENCE_MASK)
    assert held, "a frame that nobody holds"


# Owners


@inline
def owner_id(mfn: Mfn) -> DomId:
    """Return who owns a frame of the table: for certain while a reference is held."""
    return frame_at(mfn).owner


def owner_of(frame: Ptr[Frame]) -> Ptr[Domain] | None:
    """Return the domain that owns a frame which the caller holds.

    It cannot go away: frames hold a reference to their owner.
    """
    with domain_table.lock:
        return find_domain(frame.owner)


@noinline
def release_frame(frame: Ptr[Frame]) -> None:
    """Return a frame without references to the heap, and count it out of its owner."""
    mfn = mfn_of(frame)
    d = owner_of(frame)
    if d is None:
        with heap_lock:
            give_block(mfn, 0, tlb_clock_now())
        return
    set_m2p(mfn, INVALID_M2P)
    with heap_lock:
        if frame.info & FRAME_CORE:
            d.xenheap_pages -= 1
        else:
            unlink_frame(d, mfn)
            d.tot_pages -= 1
        is_last = d.tot_pages == 0 and d.xenheap_pages == 0
        forget_owner(d, frame)
        give_block(mfn, 0, tlb_clock_now())
    if is_last:
        put_domain(d)  # its frames had one reference together


@inline
def forget_owner(d: Ptr[Domain], frame: Ptr[Frame]) -> None:
    """Make sure that a frame on its way to the heap is scrubbed and flushed for its next owner.

    Only domain 0 may get its own back as they are: the ids of other domains are used again.
    """
    if not d.is_privileged:
        frame.owner = NO_OWNER


def drop_allocation(frame: Ptr[Frame]) -> bool:
    """Give up the owner's own reference to a frame. Returns: False when that was done before."""
    if atomic_and(ref(frame.info), ~FRAME_ALLOCATED) & FRAME_ALLOCATED == 0:
        return False
    put_reference(frame)
    return True


def give_up_frame(mfn: Mfn, d: Ptr[Domain]) -> bool:
    """Give up domain `d`'s own reference to one of its frames, at its wish.

    Returns: False when it is not its, was given up before, or is a page of the core.
    """
    with frame_of(mfn, d) as frame:
        if frame is None or frame.info & FRAME_CORE:
            return False
        return drop_allocation(frame)
