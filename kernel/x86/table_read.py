"""Reading numbers from firmware tables, which need not be aligned."""

from kpy import Fn, Ptr, load, u8, u16, u32, u64


def read8(address: u64) -> u8:
    return load(Ptr[u8](address))


def read16(address: u64) -> u16:
    return u16(read8(address)) | u16(read8(address + 1)) << 8


def read32(address: u64) -> u32:
    return u32(read16(address)) | u32(read16(address + 2)) << 16


def read64(address: u64) -> u64:
    return u64(read32(address)) | u64(read32(address + 4)) << 32


def checksum(address: u64, length: u64) -> u32:
    """Return the sum of bytes, modulo 256."""
    total: u32 = 0
    for i in range(length):
        total += u32(read8(address + i))
    return total & 0xFF


def for_each_entry(table: u64, first: u64, read: Fn[[u64, u64], None]) -> None:
    """Call `read(address, length)` for each entry of a table whose entries begin with a kind and a
    length, up to one that does not fit into it.
    """
    end = table + u64(read32(table + 4))
    entry = table + first
    while entry + 2 <= end:
        length = u64(read8(entry + 1))
        if length < 2 or entry + length > end:
            return
        read(entry, length)
        entry += length
