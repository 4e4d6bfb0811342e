"""The lists of a domain's frames: those that it owns, and, while it dies, those that
`relinquish_memory` has dealt with.

Locks: heap_lock, for all of it.
"""

from kpy import Ptr, inline

from kernel.base.ids import Mfn
from kernel.state.domain import Domain
from kernel.state.frame_table import Frame, FrameLink, frame_at, link_to, linked_frame


@inline
def link_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Enter a frame into its owner's list."""
    frame = frame_at(mfn)
    d.first_frame = put_before(frame, link_to(mfn), d.first_frame)


@inline
def put_before(frame: Ptr[Frame], link: FrameLink, first: FrameLink | None) -> FrameLink:
    """Put a frame before the first of a list. Returns: the link to the new first one."""
    frame.previous = None
    frame.next = first
    if first is not None:
        linked_frame(first).previous = link
    return link


@inline
def unlink_frame(d: Ptr[Domain], mfn: Mfn) -> None:
    """Take a frame out of the list that it is in."""
    frame = frame_at(mfn)
    behind, ahead = frame.next, frame.previous
    if behind is not None:
        linked_frame(behind).previous = ahead
    if ahead is not None:
        linked_frame(ahead).next = behind
    elif d.first_frame == link_to(mfn):
        d.first_frame = behind
    else:
        d.relinquished_frame = behind


def set_aside(d: Ptr[Domain], mfn: Mfn) -> None:
    """Move a frame to the list of those dealt with."""
    unlink_frame(d, mfn)
    d.relinquished_frame = put_before(frame_at(mfn), link_to(mfn), d.relinquished_frame)
