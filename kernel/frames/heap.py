"""The heap: free frames in blocks of 2^order, kept by a buddy allocator.

Blocks are also sorted by *zone*, the number of bits in their frame numbers, so that memory for a
device that can't address all of it is found without a search, and low memory is used last. A freed
block joins the end of its list and the next one comes from the front: the longer a frame rests, the
surer every processor has flushed its translations meanwhile.

Invariant: a free block's head has FRAME_FREE set in `info`. Its other frames have no references and
no users of a type there, though the type of their last use may stand; whoever takes a frame writes
`info` anew. The `owner` of a free frame stays as it was: whose it was.
"""

from kpy import Array, Ptr, clz, inline, static, truncate, u8, u32, u64

from kernel.base.ids import Mfn
from kernel.base.spinlock import SpinLock
from kernel.state.frame_table import Frame, frame_at, frame_valid
from kernel.x86.tlb import later

MAX_ORDER = 18  # 1 GiB
NR_ORDERS = MAX_ORDER + 1
NR_ZONES = 16
ZONE_SHIFT = 12  # zone 0 ends at frame 2^12, zone n at frame 2^(12 + n), the last one never
ALL_ZONES = (1 << NR_ZONES) - 1
NOTHING = 0  # no frame: frame 0 is not in the table

FRAME_FREE = 1 << 28  # in Frame.info

heap_lock = static(SpinLock)
nr_free = static(u64)
nr_changes = static(u64)  # blocks taken and given: who walks the lists sees by it that they changed
heads = static(Array[Array[u32, NR_ZONES], NR_ORDERS])
tails = static(Array[Array[u32, NR_ZONES], NR_ORDERS])
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


@inline
def linked_frame(mfn: u32) -> Ptr[Frame]:
    """Return the frame that a link names."""
    return frame_at(Mfn(u64(mfn)))


def append_block(mfn: u32, order: u32, stamp: u32) -> None:
    """Put a block at the end of its free list. Locks: heap_lock."""
    zone = zone_of(u64(mfn))
    frame = linked_frame(mfn)
    tail = tails[order][zone]
    frame.info = FRAME_FREE
    frame.order = truncate(u8, order)
    frame.stamp = stamp
    frame.next = NOTHING
    frame.previous = tail
    if tail == NOTHING:
        heads[order][zone] = mfn
        zones_with[order] |= 1 << truncate(u32, zone)
    else:
        linked_frame(tail).next = mfn
    tails[order][zone] = mfn


def remove_block(mfn: u32, order: u32) -> None:
    """Take a block out of its free list; it is not free any more. Locks: heap_lock."""
    zone = zone_of(u64(mfn))
    frame = linked_frame(mfn)
    if frame.previous == NOTHING:
        heads[order][zone] = frame.next
    else:
        linked_frame(frame.previous).next = frame.next
    if frame.next == NOTHING:
        tails[order][zone] = frame.previous
    else:
        linked_frame(frame.next).previous = frame.previous
    if heads[order][zone] == NOTHING:
        zones_with[order] &= ~(1 << truncate(u32, zone))
    frame.info = 0


def take_block(order: u32, zones: u32) -> tuple[Mfn, u32]:
    """Take a free block of 2^order frames from the highest of `zones` that has one, splitting the
    smallest that fits.

    Returns: its first frame, or 0, and the TLB clock when a frame of it was last mapped. Locks:
    heap_lock.
    """
    for size in range(order, u32(NR_ORDERS)):
        usable = zones_with[size] & zones
        if usable != 0:
            mfn = heads[size][31 - clz(usable)]
            stamp = linked_frame(mfn).stamp
            remove_block(mfn, size)
            half = size
            while half > order:
                half -= 1
                append_block(mfn + (1 << half), half, stamp)
            count_taken(1 << u64(order))
            return Mfn(u64(mfn)), stamp
    return Mfn(NOTHING), 0


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
        remove_block(truncate(u32, buddy), size)
        block = min(block, buddy)
        size += 1
    append_block(truncate(u32, block), size, newest)


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
