"""Zeroing free memory while a CPU has nothing else to do, so that a new domain is made sooner.

Only the next RESERVE frames that the heap will give out: to zero all would touch, on an emulated
machine, memory that its host may never have to find. A frame of which a translation may be left in
another processor's TLB is passed over until that has flushed: whoever could still write to it would
make the zeroing worthless.

A free frame whose `owner` is SCRUBBED is zero and in no TLB. All who take a frame from the heap
give it another owner.
"""

from kpy import bit, clz, inline, static, struct, u32, u64, zero

from kernel.frames import heap
from kernel.frames.frame import SCRUBBED, page_at
from kernel.frames.heap import NR_ORDERS, heads, heap_lock, zones_with
from kernel.state.frame_table import FrameLink, frame_at, linked_frame, linked_mfn
from kernel.x86.percpu import online_cpus, this_cpu
from kernel.x86.tlb import cpus_needing_flush, flush_tlb_local, later

RESERVE = 32768  # 128 MiB
MOST_LOOKS, MOST_ZEROED = 256, 4  # in one step: some microseconds with the heap's lock held


@struct
class Search:
    """Where the next look goes, in the order in which the heap gives blocks out: by rising size, of
    one size the highest zone first, and within a zone as listed.
    """

    nr_changes: u64  # the heap's when the search began
    rest: u64  # frames still to look at
    order: u32
    zones: u32  # of this order that are still to come
    block: FrameLink | None  # its first frame; None: to be found
    index: u64  # within the block
    passed_any: bool  # over frames that other processors may have translations of …
    passed: u32  # … and the latest stamp of these


search = static(Search)


@inline
def scrub_due() -> bool:
    """Tell whether there may be something to do. Without a lock: the idle loop asks again."""
    return search.rest != 0 or search.nr_changes != heap.nr_changes or is_passed_due()


def is_passed_due() -> bool:
    """Tell whether no other processor has translations of the frames that were passed over."""
    return search.passed_any and cpus_to_wait_for(search.passed) == 0


def cpus_to_wait_for(stamp: u32) -> u64:
    """Return the processors but this one that have not flushed since a stamp was taken."""
    return cpus_needing_flush(online_cpus(), stamp) & ~bit(u64(this_cpu().id))


def scrub_step() -> None:
    """Do a few microseconds' work. Context: the idle loop."""
    with heap_lock:
        if search.nr_changes != heap.nr_changes or search.rest == 0:
            begin_search()
        nr_zeroed: u64 = 0
        for _ in range(MOST_LOOKS):
            if search.rest == 0 or nr_zeroed == MOST_ZEROED:
                break
            nr_zeroed += u64(look())


def begin_search() -> None:
    """Start from the block that the heap would give out next. Locks: heap_lock."""
    search.nr_changes = heap.nr_changes
    search.rest = RESERVE
    search.order = 0
    search.zones = zones_with[0]
    search.block = None
    search.passed_any = False


def look() -> bool:
    """Zero the next frame if it needs that and may be.

    Returns: whether it was. Locks: heap_lock.
    """
    block = search.block
    if block is None:
        find_block()
        return False
    mfn = linked_mfn(block) + search.index
    search.rest -= 1
    search.index += 1
    stamp = linked_frame(block).stamp
    if search.index == 1 << u64(search.order):
        search.index = 0
        search.block = linked_frame(block).next
    frame = frame_at(mfn)
    if frame.owner == SCRUBBED or not is_in_no_tlb(stamp):
        return False
    zero(page_at(mfn))
    frame.owner = SCRUBBED
    return True


def is_in_no_tlb(stamp: u32) -> bool:
    """Tell whether no processor has a translation of frames with this stamp; if it is only this one
    that might, it flushes. Locks: heap_lock.
    """
    if cpus_to_wait_for(stamp) != 0:
        search.passed = later(search.passed, stamp) if search.passed_any else stamp
        search.passed_any = True
        return False
    if cpus_needing_flush(online_cpus(), stamp) != 0:
        flush_tlb_local()
    return True


def find_block() -> None:
    """Go on to the next zone, or the next size, that has blocks. Locks: heap_lock."""
    search.index = 0
    if search.zones != 0:
        zone = 31 - clz(search.zones)
        search.zones &= ~(u32(1) << zone)
        search.block = heads[search.order][zone]
    elif search.order + 1 < NR_ORDERS:
        search.order += 1
        search.zones = zones_with[search.order]
    else:
        search.rest = 0  # less memory than RESERVE is free
