"""Frames from the heap to a domain.

Whatever changes hands is scrubbed first, unless the next owner is the last one, and stale
translations of it are flushed from every processor that has not flushed since the frame was freed.
"""

from kpy import Ptr, Slice, Tainted, fill, inline, require, u32, u64, zero

from kernel.base.ids import Mfn
from kernel.frames.claims import claims_allow, use_claim
from kernel.frames.frame import FRAME_ALLOCATED, SCRUBBED, drop_allocation, page_at
from kernel.frames.frame_list import link_frame
from kernel.frames.heap import give_range, heap_lock, nr_free, take_block, zones_below
from kernel.frames.m2p import INVALID_M2P, m2p_entry
from kernel.state.domain import Domain, DOMDYING_alive, get_domain
from kernel.state.frame_table import find_ram, frame_at, nr_ram_ranges, ram_ranges
from kernel.x86 import bootmem
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush


def init_frames() -> None:
    """Fill the heap with the memory that boot left over. The frame table and the M2P are mapped.

    Context: boot, once.
    """
    find_ram()
    for i in range(nr_ram_ranges):
        first = ram_ranges[i].first
        fill(Slice[Tainted[u64]](m2p_entry(Mfn(first)), ram_ranges[i].end - first), INVALID_M2P)
    for i in range(bootmem.nr_free_ranges):
        give_range(bootmem.free_ranges[i].start >> 12, bootmem.free_ranges[i].end >> 12)


@inline
def free_frames() -> u64:
    """Return the number of frames in the heap."""
    return nr_free


def alloc_domain_frames(d: Ptr[Domain], order: u32, address_bits: u32) -> Mfn | None:
    """Allocate 2^order adjacent frames for a domain. Args, Returns: as `take_domain_frames`."""
    mfn = take_domain_frames(d, order, address_bits)
    require(mfn is not None and enter_frames(d, mfn, u32(1) << order), None)
    return mfn


def take_domain_frames(d: Ptr[Domain], order: u32, address_bits: u32) -> Mfn | None:
    """Take 2^order adjacent frames from the heap for a domain, with machine addresses of at most
    `address_bits` (0: any). Until `enter_frames` nobody can reach them, or give them up.

    Returns: the first frame; None when memory is out, or the domain is dying or would own more than
    `max_pages`.
    """
    count = u32(1) << order
    with heap_lock:
        require(d.is_dying == DOMDYING_alive, None)
        require(u64(d.tot_pages) + u64(count) <= u64(d.max_pages), None)
        require(claims_allow(d, count), None)
        mfn = take_block(order, zones_below(address_bits))
        require(mfn is not None, None)
        if d.tot_pages == 0 and d.xenheap_pages == 0:
            get_domain(d)
        d.tot_pages += count
        use_claim(d, count)
    clean_frames(d, mfn, count)
    return mfn


def clean_frames(d: Ptr[Domain], mfn: Mfn, count: u32) -> None:
    """Make a block that was just taken from the heap fit for a domain: no old translations, and no
    old contents of others.
    """
    stamp = frame_at(mfn).stamp
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
        drop_allocation(frame_at(mfn + i))
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
