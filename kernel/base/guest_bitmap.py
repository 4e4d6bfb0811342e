"""Bitmaps that the toolstack passes by address: CPUs or NUMA nodes, of which 64 bits matter."""

import abi
from kpy import Ptr, Slice, cast, inline, ref, u8, u64

from kernel.base.guest_memory import copy_slice_from_guest, copy_slice_to_guest, copy_to_guest

LONGEST_BITMAP_BYTES = 1024


@inline
def bytes_of(mask: Ptr[u64], count: u64) -> Slice[u8]:
    """Return the first bytes of a word."""
    return Slice[u8](cast(u8, mask), count)


def read_bitmap(bitmap: Ptr[abi.xenctl_bitmap]) -> tuple[u64, bool]:
    """Read a mask of the caller's, bits past its length being 0.

    Returns: the mask, and whether it could be read.
    """
    mask: u64 = 0
    nr_bytes = u64(min(bitmap.nr_bits, 64) + 7) // 8
    if not copy_slice_from_guest(bytes_of(ref(mask), nr_bytes), bitmap.bitmap):
        return 0, False
    if bitmap.nr_bits < 64:
        mask &= (1 << u64(bitmap.nr_bits)) - 1
    return mask, True


def write_bitmap(bitmap: Ptr[abi.xenctl_bitmap], mask: u64) -> bool:
    """Store a mask in the caller's bitmap, zeroing what lies past our 64 bits."""
    value = mask
    zero: u8 = 0
    nr_bytes = (u64(bitmap.nr_bits) + 7) // 8
    if not copy_slice_to_guest(bitmap.bitmap, bytes_of(ref(value), min(nr_bytes, 8))):
        return False
    for i in range(8, min(nr_bytes, LONGEST_BITMAP_BYTES)):
        if not copy_to_guest(bitmap.bitmap.index(i), ref(zero)):
            return False
    return True
