"""Who owns a frame, and how many references keep it: allocation, sharing, references, release.

The low half of `Frame.info` holds a reference count and flags. A domain's frame starts with one
reference, its allocation (FRAME_ALLOCATED), which the owner can give up; each mapping and each use
by the core takes another. Only when the last one goes does the frame return to the heap, so nobody
ever maps memory that is somebody else's by now. Whatever changes hands is scrubbed first, unless
the next owner is the last one, and stale translations of it are flushed from every processor that
has not flushed since the frame was freed.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Slice,
    atomic_and,
    atomic_cas,
    atomic_load,
    atomic_sub,
    fill,
    inline,
    noinline,
    ref,
    u32,
    u64,
    zero,
)

from kernel.base.ids import DomId, Mfn
from kernel.frames.claims import claims_allow, use_claim
from kernel.frames.heap import (
    NOTHING,
    give_block,
    give_range,
    heap_lock,
    nr_free,
    take_block,
    zones_below,
)
from kernel.frames.m2p import INVALID_M2P, m2p_entry, set_m2p
from kernel.state.domain import (
    Domain,
    DOMDYING_alive,
    domain_table,
    find_domain,
    get_domain,
    put_domain,
)
from kernel.state.frame_table import (
    Frame,
    find_ram,
    frame_at,
    frame_valid,
    nr_ram_ranges,
    ram_ranges,
)
from kernel.x86 import bootmem
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.memlayout import mfn_to_vaddr
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush, tlb_clock_now

REFERENCE_MASK = (1 << 28) - 1
MOST_REFERENCES = REFERENCE_MASK - 64  # the rest is for the core, whatever guests map
FRAME_CORE = 1 << 29  # a core page that a domain may map
FRAME_ALLOCATED = 1 << 31  # the owner's own reference is among those counted
CORE_OWNER = DomId(abi.DOMID_IDLE)
NO_OWNER = DomId(abi.DOMID_INVALID)
SCRUBBED = DomId(abi.DOMID_IDLE - 1)  # no domain's number: a free frame is zero, see scrub.py

Page = Array[u64, 512]


def init_frames() -> None:
    """Fill the heap with the memory that boot left over. The frame table and the M2P are mapped.

    Context: boot, once.
    """
    find_ram()
    for i in range(nr_ram_ranges):
        first = ram_ranges[i].first
        fill(Slice[u64](m2p_entry(Mfn(first)), ram_ranges[i].end - first), INVALID_M2P)
    for i in range(bootmem.nr_free_ranges):
        give_range(bootmem.free_ranges[i].start >> 12, bootmem.free_ranges[i].end >> 12)


@inline
def free_frames() -> u64:
    """Return the number of frames in the heap."""
    return nr_free


@inline
def page_at(mfn: Mfn) -> Ptr[Page]:
    """Return a frame's memory in the direct map.

    The caller holds a reference to the frame, or it is the core's.
    """
    return Ptr[Page](u64(mfn_to_vaddr(mfn)))


# References


@inline
def take_reference(frame: Ptr[Frame]) -> bool:
    """Add a reference to a frame that is in use.

    Returns: False when it is free or the core's, or has too many.
    """
    return take_reference_below(frame, MOST_REFERENCES)


@inline
def take_reference_below(frame: Ptr[Frame], limit: u64) -> bool:
    """Add a reference to a frame that has between one and `limit` already."""
    info = atomic_load(ref(frame.info))
    while True:
        count = info & REFERENCE_MASK
        if count == 0 or count >= limit:
            return False
        info, done = atomic_cas(ref(frame.info), info, info + 1)
        if done:
            return True


@inline
def get_frame_of(mfn: Mfn, owner: DomId) -> bool:
    """Take a reference to a frame if a given domain owns it. Returns: whether it does."""
    if not frame_valid(mfn):
        return False
    frame = frame_at(mfn)
    if not take_reference(frame):
        return False
    if frame.owner != owner:
        put_frame(mfn)
        return False
    return True


@inline
def get_frame(mfn: Mfn, d: Ptr[Domain]) -> bool:
    """Take a reference to a frame that domain `d` owns. Returns: whether it does."""
    return get_frame_of(mfn, d.domain_id)


@inline
def put_frame(mfn: Mfn) -> None:
    """Give a reference back; the last one frees the frame."""
    old = atomic_sub(ref(frame_at(mfn).info), 1)
    assert old & REFERENCE_MASK != 0, "a frame has fewer references than users"
    if old & REFERENCE_MASK == 1:
        release_frame(mfn)


def frame_owner(mfn: Mfn) -> DomId:
    """Return who owns a frame; DOMID_INVALID when it is free, or no RAM.

    It may change at once unless a reference is held.
    """
    if not frame_valid(mfn) or atomic_load(ref(frame_at(mfn).info)) & REFERENCE_MASK == 0:
        return NO_OWNER
    return frame_at(mfn).owner


def owner_of(frame: Ptr[Frame]) -> Ptr[Domain] | None:
    """Return the domain that owns a frame.

    It cannot go away: frames hold a reference to their owner.
    """
    with domain_table.lock:
        return find_domain(frame.owner)


@noinline
def release_frame(mfn: Mfn) -> None:
    """Return a frame without references to the heap, and count it out of its owner."""
    frame = frame_at(mfn)
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
        put_domain(d)


@inline
def forget_owner(d: Ptr[Domain], frame: Ptr[Frame]) -> None:
    """Make sure that a frame on its way to the heap is scrubbed and flushed for its next owner.

    Only domain 0 may get its own back as they are: the ids of other domains are used again.
    """
    if not d.is_privileged:
        frame.owner = NO_OWNER


def drop_allocation(mfn: Mfn) -> bool:
    """Give up the owner's own reference to a frame. Returns: False when that was done before."""
    if atomic_and(ref(frame_at(mfn).info), ~FRAME_ALLOCATED) & FRAME_ALLOCATED == 0:
        return False
    put_frame(mfn)
    return True


# The list of a domain's frames. Locks: heap_lock, for all of it.


@inline
def link_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Enter a frame into its owner's list."""
    frame = frame_at(mfn)
    number = u32(u64(mfn))
    frame.previous = NOTHING
    frame.next = d.first_frame
    if d.first_frame != NOTHING:
        frame_at(Mfn(u64(d.first_frame))).previous = number
    d.first_frame = number


@inline
def unlink_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Take a frame out of its owner's list, or out of the list of those that `relinquish_memory`
    has dealt with.
    """
    frame = frame_at(mfn)
    if frame.next != NOTHING:
        frame_at(Mfn(u64(frame.next))).previous = frame.previous
    if frame.previous != NOTHING:
        frame_at(Mfn(u64(frame.previous))).next = frame.next
    elif u64(d.first_frame) == u64(mfn):
        d.first_frame = frame.next
    else:
        d.relinquished_frame = frame.next


# Allocation


def alloc_domain_frames(d: Ptr[Domain], order: u32, address_bits: u32) -> tuple[Mfn, bool]:
    """Allocate 2^order adjacent frames for a domain, with machine addresses of at most
    `address_bits` (0: any).

    Returns: the first frame, and whether there were any: not when the domain is dying or would own
    more than `max_pages`.
    """
    count = u32(1) << order
    with heap_lock:
        if d.is_dying != DOMDYING_alive or u64(d.tot_pages) + u64(count) > u64(d.max_pages):
            return Mfn(NOTHING), False
        if not claims_allow(d, count):
            return Mfn(NOTHING), False
        mfn, stamp = take_block(order, zones_below(address_bits))
        if u64(mfn) == NOTHING:
            return mfn, False
        if d.tot_pages == 0 and d.xenheap_pages == 0:
            get_domain(d)
        d.tot_pages += count
        use_claim(d, count)
    clean_frames(d, mfn, count, stamp)
    return mfn, enter_frames(d, mfn, count)


def clean_frames(d: Ptr[Domain], mfn: Mfn, count: u32, stamp: u32) -> None:
    """Make frames that were just taken from the heap fit for a domain: no old translations, and no
    old contents of others.
    """
    is_flushed = False
    for i in range(u64(count)):
        frame = frame_at(mfn + i)
        if frame.owner != SCRUBBED:  # such a frame is zero, and in no TLB
            if not is_flushed:  # before the first is zeroed: a stale translation may be writable
                flush_tlb_mask(cpus_needing_flush(online_cpus(), stamp))
                is_flushed = True
            if frame.owner != d.domain_id:
                zero(page_at(mfn + i))
        frame.owner = d.domain_id


def enter_frames(d: Ptr[Domain], mfn: Mfn, count: u32) -> bool:
    """Make frames a domain's: from now on they can be referenced.

    Returns: False when the domain began to die meanwhile; `relinquish_memory` may be past the
    frames, so they are freed.
    """
    with heap_lock:
        for i in range(u64(count)):
            link_frame(d, mfn + i)
            frame_at(mfn + i).info = FRAME_ALLOCATED | 1
    if d.is_dying == DOMDYING_alive:
        return True
    for i in range(u64(count)):
        drop_allocation(mfn + i)
    return False


def adopt_boot_frames(d: Ptr[Domain], first: Mfn, count: u64) -> None:
    """Give frames that boot kept back (modules) to a domain, contents included. Context: boot."""
    with heap_lock:
        if d.tot_pages == 0 and d.xenheap_pages == 0:
            get_domain(d)
        d.tot_pages += u32(count)
    for i in range(count):
        frame_at(first + i).owner = d.domain_id
    enter_frames(d, first, u32(count))


def free_boot_frames(first: Mfn, count: u64) -> None:
    """Give frames that boot kept back to the heap. Context: boot."""
    give_range(u64(first), u64(first) + count)
