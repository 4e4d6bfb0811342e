"""Bitmaps that the toolstack passes by address: CPUs or NUMA nodes, of which 64 bits matter."""

import abi
from kpy import (
    Ptr,
    Result,
    Slice,
    Tainted,
    cast,
    ref,
    require,
    u8,
    u64,
)

from kernel.base.guest_memory import copy_slice_from_guest, copy_slice_to_guest, copy_to_guest

LONGEST_BITMAP_BYTES = 1024


def read_bitmap(bitmap: Ptr[Tainted[abi.xenctl_bitmap]]) -> Result[Tainted[u64]]:
    """Read a mask of the caller's, bits past its length being 0. Errors: -EFAULT."""
    mask: Tainted[u64] = 0
    nr_bits = min(bitmap.nr_bits, 64)
    bytes_ = Slice[Tainted[u8]](cast(u8, ref(mask)), (nr_bits + 7) // 8)
    require(copy_slice_from_guest(bytes_, bitmap.bitmap), -abi.EFAULT)
    if nr_bits < 64:
        mask &= (1 << u64(nr_bits)) - 1
    return mask


def write_bitmap(bitmap: Ptr[Tainted[abi.xenctl_bitmap]], mask: Tainted[u64]) -> bool:
    """Store a mask in the caller's bitmap, zeroing what lies past our 64 bits."""
    value = mask
    zero: u8 = 0
    nr_bytes = (min(bitmap.nr_bits, LONGEST_BITMAP_BYTES * 8) + 7) // 8
    bytes_ = Slice[Tainted[u8]](cast(u8, ref(value)), min(nr_bytes, 8))
    require(copy_slice_to_guest(bitmap.bitmap, bytes_), False)
    for i in range(8, u64(nr_bytes)):
        require(copy_to_guest(bitmap.bitmap.index(i), ref(zero)), False)
    return True
