"""Frames between two owners: taken from a domain or the heap, and not yet given to the other. They
can't be referenced.

The domain's count of frames does not change meanwhile: what XENMEM_exchange takes it gives back.
"""

from kpy import Ptr, atomic_cas, atomic_load, ref, u32, u64

from kernel.base.ids import Mfn
from kernel.frames.allocation import clean_frames, enter_frames
from kernel.frames.frame import FRAME_ALLOCATED, FRAME_CORE, REFERENCE_MASK, forget_owner
from kernel.frames.frame_list import unlink_frame
from kernel.frames.heap import give_block, heap_lock, take_block, zones_below
from kernel.frames.m2p import INVALID_M2P, set_m2p
from kernel.frames.page_type import TYPE_COUNT_MASK
from kernel.state.domain import Domain
from kernel.state.frame_table import frame_at, frame_valid
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush, tlb_clock_now


def steal_frame(d: Ptr[Domain], mfn: Mfn) -> bool:
    """Take a frame that nobody uses from its owner.

    Returns: False when it is not the domain's, or mapped, or in use as something.
    """
    if not frame_valid(mfn):
        return False
    frame = frame_at(mfn)
    with heap_lock:
        # Under the lock: before it, another vCPU may give the frame up and somebody else get it.
        if frame.owner != d.domain_id:
            return False
        info = atomic_load(ref(frame.info))
        if (
            info & (REFERENCE_MASK | FRAME_ALLOCATED | FRAME_CORE | TYPE_COUNT_MASK)
            != FRAME_ALLOCATED | 1
        ):
            return False
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


def take_unowned(order: u32, address_bits: u32) -> Mfn:
    """Take a block from the heap for a domain that is still to be named.

    Returns: its first frame, or 0.
    """
    with heap_lock:
        mfn, stamp = take_block(order, zones_below(address_bits))
    if u64(mfn) != 0:
        frame_at(mfn).stamp = stamp
    return mfn


def free_block(mfn: Mfn, order: u32) -> None:
    """Give a block that `take_unowned` took back to the heap."""
    with heap_lock:
        give_block(mfn, order, frame_at(mfn).stamp)


def assign_block(d: Ptr[Domain], mfn: Mfn, order: u32) -> bool:
    """Make a block that `take_unowned` took a domain's.

    Returns: False when the domain began to die meanwhile; the block is then free.
    """
    count = u32(1) << order
    clean_frames(d, mfn, count, frame_at(mfn).stamp)
    return enter_frames(d, mfn, count)
