"""What entries of page tables hold: references to the frames that they lead to.

A present L1 entry holds a reference to its frame, and a writable type reference if it is writable;
to an I/O frame it holds nothing. A present entry of level 2 to 4 holds a reference to the table
below and a type reference of that level. Whoever changes an entry takes the new one's references
before, and gives the old one's back after.

Locks: the page_lock of the domain whose table it is.
"""

import abi
from kpy import Ptr, Tainted, i64, inline, noinline, require, u64

from kernel.frames.frame import put_frame
from kernel.frames.iomem import IO_none, IO_write, has_io_memory, io_frame_rights
from kernel.frames.page_owner import PageOwner, get_mappable_frame
from kernel.frames.page_type import holds_descriptors, put_frame_and_type
from kernel.paging.entry import L1_DISALLOWED, entry_mfn
from kernel.paging.segments import forget_ldt_mappings
from kernel.state.domain import Domain
from kernel.state.frame_table import frame_valid
from kernel.x86.bits import PTE_ADDRESS, PTE_PRESENT, PTE_WRITE


@inline
def bad_l1_flags(l1e: Tainted[u64], d: Ptr[Domain]) -> bool:
    """Say whether an L1 entry has bits that domain `d` may not set in its tables."""
    return l1e & L1_DISALLOWED != 0 and not has_io_memory(d)


@inline
def get_l1e_frame(l1e: Tainted[u64], d: Ptr[Domain], owner: Ptr[PageOwner]) -> i64:
    """Take the references of a present L1 entry that is to go into a table of domain `d`.

    Returns: 0; or PTE_WRITE when the frame may only be mapped read-only, and nothing was taken.
    Errors: -EINVAL, bits that are not allowed; -EBUSY, the frame isn't `owner`'s, or can't be
    writable now; -EPERM, I/O memory.
    """
    require(not bad_l1_flags(l1e, d), -abi.EINVAL)
    mfn = entry_mfn(l1e)
    if not frame_valid(mfn):
        return check_io_frame(l1e, d, owner)
    require(get_mappable_frame(mfn, d, owner, l1e & PTE_WRITE != 0), -abi.EBUSY)
    return 0


@noinline
def check_io_frame(l1e: Tainted[u64], d: Ptr[Domain], owner: Ptr[PageOwner]) -> i64:
    """Decide about an entry that leads to an I/O frame. Returns and errors as `get_l1e_frame`."""
    mfn = entry_mfn(l1e)
    refusal = -abi.EINVAL if l1e & PTE_ADDRESS == PTE_ADDRESS else -abi.EPERM
    named = owner.domain
    require(named is not None, refusal)
    rights = min(io_frame_rights(named, mfn), io_frame_rights(d, mfn))
    require(rights != IO_none, refusal)
    if l1e & PTE_WRITE and rights != IO_write:
        return PTE_WRITE
    return 0


@inline
def put_l1e_frame(l1e: Tainted[u64]) -> None:
    """Give the references of a present L1 entry to a frame of RAM back."""
    if l1e & PTE_WRITE:
        put_frame_and_type(entry_mfn(l1e))
    else:
        put_frame(entry_mfn(l1e))


@inline
def put_l1e(l1e: Tainted[u64], d: Ptr[Domain]) -> None:
    """Give the references of an L1 entry of domain `d` back."""
    if l1e & PTE_PRESENT == 0 or not frame_valid(entry_mfn(l1e)):
        return
    if l1e & PTE_WRITE == 0 and holds_descriptors(entry_mfn(l1e)):
        forget_ldt_mappings(d)
    put_l1e_frame(l1e)
