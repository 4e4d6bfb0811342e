"""The machine-to-physical table: for each frame of RAM, the number by which its owner calls it.

Guests read it, at MACH2PHYS_VIRT_START, to translate what they find in page tables. The core stores
it but never believes it: a guest may enter any number for a frame that it owns.
"""

from kpy import Ptr, Tainted, inline, store, u32, u64, wrapping_add

from kernel.base.ids import Mfn, maddr_to_mfn
from kernel.x86.memlayout import RDWR_MACH2PHYS_VIRT_START
from kernel.x86.paging import core_maddr

INVALID_M2P = (1 << 64) - 1  # what guests, too, know as: no page of anybody's


@inline
def m2p_entry(mfn: Mfn) -> Ptr[Tainted[u64]]:
    """Return the entry of a frame, writable.

    The caller knows that `frame_valid(mfn)`, so the table is mapped there.
    """
    return Ptr[Tainted[u64]](RDWR_MACH2PHYS_VIRT_START + (u64(mfn) << 3))


@inline
def set_m2p(mfn: Mfn, pfn: Tainted[u64]) -> None:
    """Enter the number by which the owner of a frame calls it."""
    store(m2p_entry(mfn), pfn)


def set_m2p_block(mfn: Mfn, order: u32, pfn: Tainted[u64]) -> None:
    """Enter the numbers from `pfn` on, the guest's word, by which a domain will call 2^order frames
    that nobody can give up yet: an entry of a frame that is another's by now would be lost.
    """
    for i in range(u64(1) << u64(order)):
        set_m2p(mfn + i, wrapping_add(pfn, i))


def m2p_extent(mfn: Mfn) -> Mfn | None:
    """Return the frame that holds a frame's entry; None when the table has a hole there."""
    maddr = core_maddr(u64(m2p_entry(mfn)))
    return maddr_to_mfn(maddr) if maddr is not None else None
