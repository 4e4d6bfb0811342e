"""The machine-to-physical table: for each frame of RAM, the number by which its owner calls it.

Guests read it, at MACH2PHYS_VIRT_START, to translate what they find in page tables. The core stores
it but never believes it: a guest may enter any number for a frame that it owns.
"""

from kpy import Ptr, inline, store, u64

from kernel.base.ids import Mfn
from kernel.x86.memlayout import RDWR_MACH2PHYS_VIRT_START
from kernel.x86.paging import core_maddr

INVALID_M2P = (1 << 64) - 1


@inline
def m2p_entry(mfn: Mfn) -> Ptr[u64]:
    """Return the entry of a frame, writable.

    The caller knows that `frame_valid(mfn)`, so the table is mapped there.
    """
    return Ptr[u64](RDWR_MACH2PHYS_VIRT_START + (u64(mfn) << 3))


@inline
def set_m2p(mfn: Mfn, pfn: u64) -> None:
    """Enter the number by which the owner of a frame calls it."""
    store(m2p_entry(mfn), pfn)


def m2p_extent(mfn: Mfn) -> Mfn:
    """Return the frame that holds a frame's entry; 0 when the table has a hole there."""
    return Mfn(core_maddr(u64(m2p_entry(mfn))) >> 12)
