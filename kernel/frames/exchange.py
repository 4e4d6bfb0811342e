"""Frames between two owners: taken from a domain or the heap, and not yet given to the other. They
can't be referenced.

The domain's count of frames does not change meanwhile: what XENMEM_exchange takes it gives back.
"""

from kpy import Ptr, atomic_cas, atomic_load, load, ref, require, store, u32

from kernel.base.ids import Mfn
from kernel.frames.allocation import clean_frames, enter_frames
from kernel.frames.frame import FRAME_ALLOCATED, FRAME_CORE, REFERENCE_MASK, forget_owner
from kernel.frames.frame_list import unlink_frame
from kernel.frames.heap import give_block, heap_lock, take_block, zones_below
from kernel.frames.m2p import INVALID_M2P, set_m2p
from kernel.frames.page_type import TYPE_COUNT_MASK
from kernel.state.domain import Domain
from kernel.state.frame_table import (
    FrameLink,
    frame_at,
    frame_valid,
    link_to,
    linked_frame,
    linked_mfn,
)
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush, tlb_clock_now

# What tells how a frame is used; one that nobody uses has its allocation's reference alone.
IN_USE = REFERENCE_MASK | FRAME_ALLOCATED | FRAME_CORE | TYPE_COUNT_MASK


def steal_frame(d: Ptr[Domain], mfn: Mfn) -> bool:
    """Take a frame that nobody uses from its owner.

    Returns: False when it is not the domain's, or mapped, or in use as something.
    """
    require(frame_valid(mfn), False)
    frame = frame_at(mfn)
    with heap_lock:
        # Under the lock: before it, another vCPU may give the frame up and somebody else get it.
        require(frame.owner == d.domain_id, False)
        info = atomic_load(ref(frame.info))
        require(info & IN_USE == FRAME_ALLOCATED | 1, False)
        _, done = atomic_cas(ref(frame.info), info, 0)
        if done:
            unlink_frame(d, mfn)
    return done


def return_stolen_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Give a stolen frame back to its owner.

    It has lost its type, which would tell what must be flushed before the next use. If the owner
    began to die meanwhile it is freed instead.
    """
    flush_tlb_mask(cpus_needing_flush(online_cpus(), frame_at(mfn).stamp))
    enter_frames(d, mfn, 1)


def free_stolen_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Give a stolen frame to the heap."""
    set_m2p(mfn, INVALID_M2P)
    with heap_lock:
        forget_owner(d, frame_at(mfn))
        give_block(mfn, 0, tlb_clock_now())


def push(chain: Ptr[FrameLink | None], mfn: Mfn) -> None:
    """Put a frame between two owners, or a block by its first frame, on a chain of such."""
    frame_at(mfn).next = load(chain)
    store(chain, link_to(mfn))


def pop(chain: Ptr[FrameLink | None]) -> Mfn | None:
    """Take the frame that was put on a chain last off it. Returns: None when it is empty."""
    first = load(chain)
    require(first is not None, None)
    store(chain, linked_frame(first).next)
    return linked_mfn(first)


def take_unowned(order: u32, address_bits: u32) -> Mfn | None:
    """Take a block from the heap for a domain that is still to be named.

    Returns: its first frame; None when there is no such block.
    """
    with heap_lock:
        return take_block(order, zones_below(address_bits))


def free_block(mfn: Mfn, order: u32) -> None:
    """Give a block that `take_unowned` took back to the heap."""
    with heap_lock:
        give_block(mfn, order, frame_at(mfn).stamp)


def assign_block(d: Ptr[Domain], mfn: Mfn, order: u32) -> bool:
    """Make a block that `take_unowned` took a domain's.

    Returns: False when the domain began to die meanwhile; the block is then free.
    """
    count = u32(1) << order
    clean_frames(d, mfn, count)
    return enter_frames(d, mfn, count)
