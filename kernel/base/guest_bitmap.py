"""Bitmaps that the toolstack passes by address: CPUs or NUMA nodes, of which 64 bits matter."""

import abi
from kpy import Ptr, ref, u8, u64, wrapping_add

from kernel.base.guest_memory import copy_bytes_from_guest, copy_bytes_to_guest

LONGEST_BITMAP_BYTES = 1024


def read_bitmap(bitmap: Ptr[abi.xenctl_bitmap]) -> tuple[u64, bool]:
    """Read a mask of the caller's, bits past its length being 0.

    Returns: the mask, and whether it could be read.
    """
    mask: u64 = 0
    nr_bytes = u64(min(bitmap.nr_bits, 64) + 7) // 8
    if copy_bytes_from_guest(u64(ref(mask)), bitmap.bitmap.address(), nr_bytes) != 0:
        return 0, False
    if bitmap.nr_bits < 64:
        mask &= (1 << u64(bitmap.nr_bits)) - 1
    return mask, True


def write_bitmap(bitmap: Ptr[abi.xenctl_bitmap], mask: u64) -> bool:
    """Store a mask in the caller's bitmap, zeroing what lies past our 64 bits."""
    value = mask
    zero: u8 = 0
    nr_bytes = (u64(bitmap.nr_bits) + 7) // 8
    if copy_bytes_to_guest(bitmap.bitmap.address(), u64(ref(value)), min(nr_bytes, 8)) != 0:
        return False
    for i in range(8, min(nr_bytes, LONGEST_BITMAP_BYTES)):
        if copy_bytes_to_guest(wrapping_add(bitmap.bitmap.address(), i), u64(ref(zero)), 1) != 0:
            return False
    return True
