"""Copying from and to the memory of the running guest: the only way in which the core touches an
address that a guest gave.

A guest address is good for the core when the guest itself could use it: outside of the core's hole.
Whether anything is mapped there, and writable, the processor finds out: the copy routine's
instructions are in the exception table, and a fault in them ends the copy. The address space is the
caller's, as loaded.

What is copied in is `Tainted`, by the types of these functions: a structure that a guest gave can
be read into nothing else (tests/unit/test_taint.py).
"""

from typing import TypeVar

import abi
from kpy import (
    Guest,
    Ptr,
    Slice,
    Tainted,
    extern,
    inline,
    sizeof,
    trusted,
    u8,
    u64,
    wrapping_add,
    wrapping_mul,
)

T = TypeVar("T")

LOWER_HALF_END = 1 << 47

assert abi.HYPERVISOR_VIRT_START == (1 << 64) - LOWER_HALF_END


@extern
def guest_copy(to: u64, from_: u64, size: u64) -> u64:
    """Copy bytes between frames, in the direct map. One routine of assembly (fault_safe.asm) serves
    all three directions; by their names a test knows which side is the guest's.
    """


@extern
def read_guest(to: u64, from_: u64, size: u64) -> u64:
    """Copy bytes of the running guest to the core. Returns: the bytes left over after a fault."""


@extern
def write_guest(to: u64, from_: u64, size: u64) -> u64:
    """Copy bytes of the core to the running guest. Returns: the bytes left over after a fault."""


@inline
def guest_address_okay(address: Tainted[u64]) -> bool:
    """Say whether an address lies outside of the core's hole."""
    return address < LOWER_HALF_END or address >= abi.HYPERVISOR_VIRT_END


@inline
def guest_range_ok(address: Tainted[u64], size: u64) -> bool:
    """Say whether a whole range lies on one side of the core's hole."""
    end = wrapping_add(address, size)
    if address < LOWER_HALF_END:
        return address <= end <= LOWER_HALF_END
    return address >= abi.HYPERVISOR_VIRT_END and (end > address or end == 0 or size == 0)


@inline
def copy_bytes_from_guest(to: u64, from_: Tainted[u64], size: u64) -> u64:
    """Copy `size` bytes at guest address `from_` to the core's memory at `to`.

    Returns: bytes not copied.
    """
    if not guest_range_ok(from_, size):
        return size
    return read_guest(to, trusted(from_), size)  # outside of the core's hole


@inline
def copy_bytes_to_guest(to: Tainted[u64], from_: u64, size: u64) -> u64:
    """Copy `size` bytes of the core's memory to guest address `to`. Returns: bytes not copied."""
    if not guest_range_ok(to, size):
        return size
    return write_guest(trusted(to), from_, size)  # outside of the core's hole


@inline
def copy_from_guest(to: Ptr[Tainted[T]], from_: Guest[T]) -> bool:
    """Read a guest's structure.

    Returns: False when it can't be read; `to` may then be half written.
    """
    return copy_bytes_from_guest(u64(to), from_.address(), sizeof(T)) == 0


@inline
def copy_to_guest(to: Guest[T], from_: Ptr[T]) -> bool:
    """Write a guest's structure. Returns: False when it can't be written, or not all of it."""
    return copy_bytes_to_guest(to.address(), u64(from_), sizeof(T)) == 0


@inline
def copy_slice_from_guest(to: Slice[Tainted[T]], from_: Guest[T]) -> bool:
    """Read an array of a guest's. Returns: False when it can't be read, or not all of it."""
    size = wrapping_mul(len(to), sizeof(T))  # fits: it is memory of the core
    return copy_bytes_from_guest(u64(to.ptr), from_.address(), size) == 0


@inline
def copy_slice_to_guest(to: Guest[T], from_: Slice[T]) -> bool:
    """Write an array of a guest's. Returns: False when it can't be written, or not all of it."""
    size = wrapping_mul(len(from_), sizeof(T))
    return copy_bytes_to_guest(to.address(), u64(from_.ptr), size) == 0


@inline
def bytes_from_guest(to: Slice[Tainted[u8]], from_: Guest[u8]) -> u64:
    """Read bytes of a guest's as far as they are there. Returns: how many were."""
    return len(to) - min(len(to), copy_bytes_from_guest(u64(to.ptr), from_.address(), len(to)))


@inline
def guest_array_okay(array: Guest[T], count: Tainted[u64]) -> bool:
    """Say whether the elements 0 to count - 1 lie outside of the core's hole; of mapped memory it
    says nothing.
    """
    if count > LOWER_HALF_END // sizeof(T):
        return False
    return guest_range_ok(array.address(), count * sizeof(T))
