"""Machine frames and page tables for gdb, by the core's frame table and direct map.

Both are mapped in every address space while the core is up, so they can be read wherever the
processor stopped.
"""

import abi
import gdb

from kernel.frames import frame, heap, page_type
from kernel.x86 import bits
from kernel.x86.memlayout import (
    DIRECTMAP_VIRT_START,
    FRAMETABLE_VIRT_START,
)

TYPES = {0: "no type", 5: "segment descriptors", 7: "writable"} | {
    level: f"L{level} table" for level in range(1, 5)
}
INFO_FLAGS = (
    (page_type.PGT_pinned, "pinned"),
    (page_type.PGT_validated, "validated"),
    (page_type.PGT_partial, "partial"),
    (frame.FRAME_ALLOCATED, "allocated"),
    (frame.FRAME_CORE, "core page"),
    (heap.FRAME_FREE, "free"),
)
ENTRY_FLAGS = (
    (bits.PTE_WRITE, "W"),
    (bits.PTE_USER, "U"),
    (bits.PTE_ACCESSED, "A"),
    (bits.PTE_DIRTY, "D"),
    (bits.PTE_LARGE, "large"),
    (bits.PTE_GLOBAL, "G"),
    (bits.PTE_NX, "NX"),
)
PAGE_SHIFT = 12


def describe_info(info):
    """Say what a frame's `info` holds: references, type and its count, flags."""
    references = info & frame.REFERENCE_MASK
    count = (info & page_type.TYPE_COUNT_MASK) >> 32
    kind = TYPES.get(info >> page_type.PGT_TYPE_SHIFT, "?")
    flags = [name for bit, name in INFO_FLAGS if info & bit]
    use = f"{kind} x{count}" if count else f"unused ({kind} before)"
    return ", ".join([f"{references} references", use, *flags])


def describe_entry(entry):
    """Say what a page-table entry means."""
    if not entry & bits.PTE_PRESENT:
        return f"{entry:#x}: not present"
    flags = " ".join(name for bit, name in ENTRY_FLAGS if entry & bit)
    return f"{entry:#x}: frame {entry_mfn(entry):#x} {flags}"


def entry_mfn(entry):
    """Return the frame that an entry leads to."""
    return (entry & bits.PTE_ADDRESS) >> PAGE_SHIFT


def read_word(mfn, offset):
    """Return 8 bytes of a machine frame."""
    address = DIRECTMAP_VIRT_START + (mfn << PAGE_SHIFT) + offset
    return int.from_bytes(gdb.selected_inferior().read_memory(address, 8).tobytes(), "little")


def walk(l4_mfn, address):
    """Walk page tables; yields (level, table, index, entry) down to the first that ends it."""
    table = l4_mfn
    for level in range(4, 0, -1):
        index = address >> PAGE_SHIFT + 9 * (level - 1) & 511
        entry = read_word(table, index * 8)
        yield level, table, index, entry
        if not entry & bits.PTE_PRESENT or level > 1 and entry & bits.PTE_LARGE:
            return
        table = entry_mfn(entry)


def translate(l4_mfn, address):
    """Return the machine frame behind a guest's address, None when nothing is mapped."""
    if l4_mfn == 0 or abi.HYPERVISOR_VIRT_START <= address < abi.HYPERVISOR_VIRT_END:
        return None
    steps = list(walk(l4_mfn, address))
    level, _, _, entry = steps[-1]
    if not entry & bits.PTE_PRESENT or level != 1:
        return None
    return entry_mfn(entry)


def read_guest_word(l4_mfn, address):
    """Return 8 bytes at a guest's address, None when they aren't there or cross a page."""
    mfn = translate(l4_mfn, address)
    if mfn is None or address & 4095 > 4088:
        return None
    return read_word(mfn, address & 4095)


def frame_entry(mfn):
    """Return the frame table's entry of a frame.

    Errors: gdb.GdbError, it is no RAM that the table describes.
    """
    ranges = gdb.parse_and_eval("ram_ranges")
    for index in range(int(gdb.parse_and_eval("nr_ram_ranges"))):
        if int(ranges[index]["first"]) <= mfn < int(ranges[index]["end"]):
            type_ = gdb.lookup_type("struct Frame")
            address = FRAMETABLE_VIRT_START + mfn * type_.sizeof
            return gdb.Value(address).cast(type_.pointer()).dereference()
    raise gdb.GdbError(f"frame {mfn:#x} is no memory that the frame table describes")
