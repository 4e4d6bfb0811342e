"""Clearing and copying a guest's frames at its request, by machine address: no mapping of them is
needed.
"""

import abi
from kpy import Ptr, copy, i64, require, zero

from kernel.base.ids import Mfn
from kernel.frames.frame import frame_of, page_at
from kernel.frames.page_type import get_writable_frame, put_frame_and_type
from kernel.state.domain import Domain


def clear_guest_page(d: Ptr[Domain], mfn: Mfn) -> i64:
    """Zero a frame of domain `d`.

    Errors: -EINVAL, not the domain's, or a page table or the like.
    """
    require(get_writable_frame(mfn, d), -abi.EINVAL)
    zero(page_at(mfn))
    put_frame_and_type(mfn)
    return 0


def copy_guest_page(d: Ptr[Domain], to: Mfn, from_: Mfn) -> i64:
    """Copy one frame of domain `d` to another. Errors: -EINVAL, as for clearing."""
    with frame_of(from_, d) as source:
        require(source is not None and get_writable_frame(to, d), -abi.EINVAL)
        if to != from_:
            copy(page_at(to), page_at(from_))
        put_frame_and_type(to)
    return 0
