"""What the heap has, for those who only ask."""

from kpy import saturating_sub, u64

from kernel.frames.heap import NR_ORDERS, NR_ZONES, heads, heap_lock
from kernel.state.frame_table import linked_frame


def free_frames_between(first: u64, end: u64) -> u64:
    """Return how many frames from `first` up to `end` are free. Locks: takes heap_lock."""
    total: u64 = 0
    with heap_lock:
        for order in range(u64(NR_ORDERS)):
            for zone in range(u64(NR_ZONES)):
                block = heads[order][zone]
                while block is not None:
                    start = u64(block)
                    stop = start + (u64(1) << order)
                    total += saturating_sub(min(stop, end), max(start, first))
                    block = linked_frame(block).next
    return total
