"""Whose frames a page-table entry may lead to, and the references that it holds when it does."""

import abi
from kpy import Ptr, inline, noinline, struct, u64

from kernel.base.ids import DomId, Mfn
from kernel.frames.frame import MOST_REFERENCES, owner_id, put_frame, take_reference
from kernel.frames.page_type import get_writable_type, put_frame_and_type, share_writable
from kernel.state.domain import Domain, put_domain
from kernel.state.frame_table import frame_at


@struct
class PageOwner:
    """Whose frames an update may map, and whose rights count for I/O frames: mmu_update's foreign
    domain.
    """

    domain_id: DomId  # DOMID_IO, DOMID_XEN: no domain
    domain: Ptr[Domain] | None  # rights to I/O frames; with a reference if `is_foreign`
    is_foreign: bool

    @inline
    def __enter__(self) -> None:
        """Begin what `find_page_owner` took the reference for."""

    @inline
    def __exit__(self) -> None:
        """Give the reference back."""
        domain = self.domain
        if self.is_foreign and domain is not None:
            put_domain(domain)


@inline
def get_mappable_frame(mfn: Mfn, d: Ptr[Domain], owner: Ptr[PageOwner], writable: bool) -> bool:
    """Take a reference to a frame of RAM that is to be mapped by domain `d` as one of `owner`, with
    a writable type reference if it is to be `writable`.

    Returns: False when it isn't `owner`'s, or can't be writable now. Its type changes only once the
    owner is known for sure; a look without reference comes first, so that hardly ever an owner is
    disturbed who must not notice.
    """
    if not is_mappable(mfn, d, owner):
        return False
    frame = frame_at(mfn)
    if writable and share_writable(frame):
        if is_mappable(mfn, d, owner):
            return True
        put_frame_and_type(mfn)
        return False
    if not take_reference(frame, MOST_REFERENCES):
        return False
    if is_mappable(mfn, d, owner) and (not writable or get_writable_type(mfn)):
        return True
    put_frame(mfn)
    return False


@inline
def is_mappable(mfn: Mfn, d: Ptr[Domain], owner: Ptr[PageOwner]) -> bool:
    """Say whether a frame of RAM may be mapped as one of `owner`; for certain only while a
    reference is held.
    """
    real = owner_id(mfn)
    return real == owner.domain_id or may_map_anyway(real, d, owner)


@noinline
def may_map_anyway(real: DomId, d: Ptr[Domain], owner: Ptr[PageOwner]) -> bool:
    """Say whether a frame of another domain than `owner` may be mapped: a privileged domain hands
    its right on to `d`.
    """
    named = owner.domain
    if named is None or owner.domain_id == d.domain_id:
        return False
    return named.is_privileged and u64(real) < abi.DOMID_FIRST_RESERVED
