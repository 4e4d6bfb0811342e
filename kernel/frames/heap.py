"""The heap: free frames in blocks of 2^order, kept by a buddy allocator.

Blocks are also sorted by *zone*, the number of bits in their frame numbers, so that memory for a
device that can't address all of it is found without a search, and low memory is used last. A freed
block joins the end of its list and the next one comes from the front: the longer a frame rests, the
surer every processor has flushed its translations meanwhile.

Invariant: a free block's head has FRAME_FREE set in `info`. Its other frames have no references and
no users of a type there, though the type of their last use may stand; whoever takes a frame writes
`info` anew. The `owner` of a free frame stays as it was: whose it was.
"""

from kpy import Array, clz, inline, static, truncate, u8, u32, u64

from kernel.base.ids import Mfn
from kernel.base.spinlock import SpinLock
from kernel.state.frame_table import (
    FrameLink,
    frame_at,
    frame_valid,
    link_to,
    linked_frame,
    linked_mfn,
)
from kernel.x86.tlb import later

MAX_ORDER = 18  # 1 GiB
NR_ORDERS = MAX_ORDER + 1
NR_ZONES = 16
ZONE_SHIFT = 12  # zone 0 ends at frame 2^12, zone n at frame 2^(12 + n), the last one never
ALL_ZONES = (1 << NR_ZONES) - 1

FRAME_FREE = 1 << 28  # in Frame.info

heap_lock = static(SpinLock)
nr_free = static(u64)
nr_changes = static(u64)  # blocks taken and given: who walks the lists sees by it that they changed
heads = static(Array[Array[FrameLink | None, NR_ZONES], NR_ORDERS])
tails = static(Array[Array[FrameLink | None, NR_ZONES], NR_ORDERS])
zones_with = static(Array[u32, NR_ORDERS])  # bit per zone that has a free block of this order


@inline
def zone_of(mfn: u64) -> u64:
    """Return the zone of a frame."""
    bits = 64 - clz(mfn >> ZONE_SHIFT)
    return min(bits, NR_ZONES - 1)


def zones_below(address_bits: u32) -> u32:
    """Return the zones all of whose memory has machine addresses of at most so many bits; 0 stands
    for no limit.
    """
    lowest: u32 = ZONE_SHIFT + 12
    if address_bits == 0 or address_bits >= lowest + NR_ZONES:
        return ALL_ZONES
    if address_bits < lowest:
        return 0
    return (2 << (address_bits - lowest)) - 1


def append_block(block: FrameLink, order: u32, stamp: u32) -> None:
    """Put a block at the end of its free list. Locks: heap_lock."""
    zone = zone_of(u64(block))
    frame = linked_frame(block)
    tail = tails[order][zone]
    frame.info = FRAME_FREE
    frame.order = truncate(u8, order)
    frame.stamp = stamp
    frame.next = None
    frame.previous = tail
    if tail is None:
        heads[order][zone] = block
        zones_with[order] |= 1 << truncate(u32, zone)
    else:
        linked_frame(tail).next = block
    tails[order][zone] = block


def remove_block(block: FrameLink, order: u32) -> None:
    """Take a block out of its free list; it is not free any more. Locks: heap_lock."""
    zone = zone_of(u64(block))
    frame = linked_frame(block)
    behind, ahead = frame.next, frame.previous
    if ahead is None:
        heads[order][zone] = behind
    else:
        linked_frame(ahead).next = behind
    if behind is None:
        tails[order][zone] = ahead
    else:
        linked_frame(behind).previous = ahead
    if heads[order][zone] is None:
        zones_with[order] &= ~(1 << truncate(u32, zone))
    frame.info = 0


def take_block(order: u32, zones: u32) -> Mfn | None:
    """Take a free block of 2^order frames from the highest of `zones` that has one, splitting the
    smallest that fits.

    Returns: its first frame, whose `stamp` is the TLB clock when a frame of the block was last
    mapped; None when there is no such block. Locks: heap_lock.
    """
    for size in range(order, u32(NR_ORDERS)):
        usable = zones_with[size] & zones
        if usable != 0:
            block = heads[size][31 - clz(usable)]
            assert block is not None, "a zone without blocks is marked as having some"
            split_block(block, size, order)
            count_taken(1 << u64(order))
            return linked_mfn(block)
    return None


@inline
def split_block(block: FrameLink, size: u32, order: u32) -> None:
    """Take a block of 2^size frames out of its list, and put all of it back but the first 2^order.

    Locks: heap_lock.
    """
    stamp = linked_frame(block).stamp
    remove_block(block, size)
    half = size
    while half > order:
        half -= 1
        append_block(block + (u32(1) << half), half, stamp)


@inline
def count_taken(count: u64) -> None:
    """Count frames out."""
    global nr_free, nr_changes
    nr_free -= count
    nr_changes += 1


def give_block(mfn: Mfn, order: u32, stamp: u32) -> None:
    """Make 2^order frames free, joined with free neighbours. Locks: heap_lock."""
    global nr_free, nr_changes
    nr_free += 1 << u64(order)
    nr_changes += 1
    zone = zone_of(u64(mfn))
    block = u64(mfn)
    size = order
    newest = stamp
    while size < MAX_ORDER:
        buddy = block ^ (1 << u64(size))
        if zone_of(buddy) != zone or not is_free_block(buddy, size):
            break
        newest = later(newest, frame_at(Mfn(buddy)).stamp)
        remove_block(link_to(Mfn(buddy)), size)
        block = min(block, buddy)
        size += 1
    append_block(link_to(Mfn(block)), size, newest)


@inline
def is_free_block(mfn: u64, order: u32) -> bool:
    """Say whether a free block of exactly this order begins at a frame."""
    if not frame_valid(Mfn(mfn)):
        return False
    frame = frame_at(Mfn(mfn))
    return frame.info == FRAME_FREE and frame.order == truncate(u8, order)


def give_range(first: u64, end: u64) -> None:
    """Make a range of frames free that nobody ever mapped. Context: boot."""
    at = first
    while at < end:
        order: u32 = 0
        while (
            order < MAX_ORDER
            and at & ((2 << u64(order)) - 1) == 0
            and at + (2 << u64(order)) <= end
            and zone_of(at) == zone_of(at + (2 << u64(order)) - 1)
        ):
            order += 1
        with heap_lock:
            give_block(Mfn(at), order, 0)
        at += 1 << u64(order)
