"""The two big tables that describe memory: one `Frame`, and one machine-to-physical entry, for each
frame of RAM.

Only what describes RAM is mapped: the holes between stay empty, so whoever asks about a frame must
know that it is RAM.
"""

from kpy import ref, u64

from kernel.base.ids import PAGE_SIZE
from kernel.x86.bootmem import E820_RAM, LOW_MEMORY_END, boot_alloc_pages, memory_map, nr_regions
from kernel.x86.memlayout import (
    FRAMETABLE_VIRT_START,
    MACH2PHYS_VIRT_START,
    RDWR_MACH2PHYS_VIRT_START,
)
from kernel.x86.paging import CORE_DATA, GUEST_READ, is_core_mapped, map_core_range

M2P_BYTES = 8


def map_frame_tables(frame_bytes: u64) -> None:
    """Map both tables for every region of RAM. Context: boot, before domains exist."""
    for i in range(nr_regions):
        region = ref(memory_map[i])
        if region.kind == E820_RAM and region.end > LOW_MEMORY_END:
            first = region.start // PAGE_SIZE
            end = region.end // PAGE_SIZE
            map_table(FRAMETABLE_VIRT_START, 0, first * frame_bytes, end * frame_bytes)
            map_table(
                RDWR_MACH2PHYS_VIRT_START, MACH2PHYS_VIRT_START, first * M2P_BYTES, end * M2P_BYTES
            )


def map_table(base: u64, guest_base: u64, start: u64, end: u64) -> None:
    """Give a part of a table memory, and show it to guests too if `guest_base` is not 0.

    The page at either end may belong to the neighbouring region's part as well, and be mapped
    already.
    """
    first = base + start // PAGE_SIZE * PAGE_SIZE
    last = base + (end + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE
    if is_core_mapped(first):
        first += PAGE_SIZE
    if last > first and is_core_mapped(last - PAGE_SIZE):
        last -= PAGE_SIZE
    if last <= first:
        return
    maddr = u64(boot_alloc_pages((last - first) // PAGE_SIZE))
    map_core_range(first, maddr, last - first, CORE_DATA)
    if guest_base != 0:
        map_core_range(guest_base + (first - base), maddr, last - first, GUEST_READ)
