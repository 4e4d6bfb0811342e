"""The lists of a domain's frames: those that it owns, and, while it dies, those that
`relinquish_memory` has dealt with.

Locks: heap_lock, for all of it.
"""

from kpy import Ptr, inline, u32, u64

from kernel.base.ids import Mfn
from kernel.frames.heap import NOTHING, linked_frame
from kernel.state.domain import Domain
from kernel.state.frame_table import frame_at


@inline
def link_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Enter a frame into its owner's list."""
    frame = frame_at(mfn)
    number = u32(u64(mfn))
    frame.previous = NOTHING
    frame.next = d.first_frame
    if d.first_frame != NOTHING:
        linked_frame(d.first_frame).previous = number
    d.first_frame = number


@inline
def unlink_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Take a frame out of the list that it is in."""
    frame = frame_at(mfn)
    if frame.next != NOTHING:
        linked_frame(frame.next).previous = frame.previous
    if frame.previous != NOTHING:
        linked_frame(frame.previous).next = frame.next
    elif u64(d.first_frame) == u64(mfn):
        d.first_frame = frame.next
    else:
        d.relinquished_frame = frame.next


def set_aside(d: Ptr[Domain], mfn: Mfn) -> None:
    """Move a frame to the list of those dealt with."""
    unlink_frame(d, mfn)
    frame = frame_at(mfn)
    frame.previous = NOTHING
    frame.next = d.relinquished_frame
    if d.relinquished_frame != NOTHING:
        linked_frame(d.relinquished_frame).previous = u32(u64(mfn))
    d.relinquished_frame = u32(u64(mfn))
