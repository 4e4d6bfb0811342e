"""Machine memory as the firmware describes it, and the pages that the core takes from it before the
frame table exists.

`memory_map` is the firmware's map, sorted. RAM above 1 MiB that holds neither the image, nor
modules, nor something that `boot_alloc_pages` handed out is in `free_ranges`, which
`kernel.frames.frame` takes over by `end_boot_allocation`. Everything the core takes, it takes from
the top of the last range that fits, so that the low memory that old devices need stays free;
before the direct map exists only the first GiB can be reached, and the ranges are cut accordingly.
"""

from kpy import Array, Ptr, Slice, fill, panic, ref, static, struct, u8, u32, u64

from kernel.base.ids import PAGE_SIZE, Maddr
from kernel.x86 import multiboot
from kernel.x86.memlayout import IMAGE_VIRT_START
from kernel.x86.multiboot import MultibootMmapEntry, boot_info

E820_RAM = 1
E820_ACPI = 3
E820_NVS = 4
MAX_REGIONS = 64
LOW_MEMORY_END = 1 << 20
EARLY_MAP_END = 1 << 30
HIGH_LIMIT = 1 << 52


@struct
class MemoryRegion:
    """Machine addresses from `start` up to, not including, `end`."""

    start: u64
    end: u64
    kind: u32  # E820_*


@struct
class MemoryRange:
    start: u64
    end: u64


memory_map = static(Array[MemoryRegion, MAX_REGIONS])
nr_regions = static(u64)
free_ranges = static(Array[MemoryRange, MAX_REGIONS])
nr_free_ranges = static(u64)
alloc_limit = static(u64, EARLY_MAP_END)
pages_taken = static(u64)  # by boot_alloc_pages
image_end = static(u8, extern=True, symbol="image_end")
image_start = static(u8, extern=True, symbol="image_start")


def read_memory_map() -> None:
    """Take over the firmware's map and find the free ranges."""
    info = boot_info()
    offset: u64 = 0
    while offset < u64(info.mmap_length):
        entry = Ptr[MultibootMmapEntry](multiboot.phys_window + u64(info.mmap_addr) + offset)
        insert_region(entry.addr, entry.addr + entry.length, entry.kind)
        offset += u64(entry.size) + 4
    for i in range(nr_regions):
        if memory_map[i].kind == E820_RAM:
            add_free_range(memory_map[i].start, memory_map[i].end)
    reserve(u64(ref(image_start)) - IMAGE_VIRT_START, u64(ref(image_end)) - IMAGE_VIRT_START)
    for i in range(multiboot.nr_modules):
        start = u64(multiboot.module(i).start)
        reserve(start, start + multiboot.module(i).size)


def insert_region(start: u64, end: u64, kind: u32) -> None:
    """Add a region to the map, which stays sorted by start."""
    global nr_regions
    assert nr_regions < MAX_REGIONS, "the firmware's memory map is too long"
    place = nr_regions
    while place > 0 and memory_map[place - 1].start > start:
        memory_map[place] = memory_map[place - 1]
        place -= 1
    memory_map[place] = MemoryRegion(start=start, end=end, kind=kind)
    nr_regions += 1


def add_free_range(start: u64, end: u64) -> None:
    """Add the whole pages of a stretch of RAM above 1 MiB."""
    global nr_free_ranges
    first = max((start + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE, LOW_MEMORY_END)
    last = min(end // PAGE_SIZE * PAGE_SIZE, HIGH_LIMIT)
    if first >= last:
        return
    assert nr_free_ranges < MAX_REGIONS, "too many free ranges"
    free_ranges[nr_free_ranges] = MemoryRange(start=first, end=last)
    nr_free_ranges += 1


def reserve(start: u64, end: u64) -> None:
    """Take the pages of a stretch out of the free ranges."""
    first = start // PAGE_SIZE * PAGE_SIZE
    last = (end + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE
    for i in range(nr_free_ranges):
        free = ref(free_ranges[i])
        old_end = free.end
        if first >= free.end or last <= free.start:
            continue
        free.end = max(first, free.start)
        if last < old_end:
            if free.end == free.start:
                free.start = last
                free.end = old_end
            else:
                add_free_range(last, old_end)


def boot_alloc_pages(n: u64) -> Maddr:
    """Take `n` adjacent zeroed pages for good."""
    global pages_taken
    index = nr_free_ranges
    while index > 0:
        index -= 1
        free = ref(free_ranges[index])
        end = min(free.end, alloc_limit)
        if end > free.start and end - free.start >= n * PAGE_SIZE:
            start = end - n * PAGE_SIZE
            reserve(start, end)
            pages_taken += n
            fill(Slice[u8](Ptr[u8](multiboot.phys_window + start), n * PAGE_SIZE), 0)
            return Maddr(start)
    panic("not enough memory for the core's own tables")


def lift_alloc_limit() -> None:
    """Allow memory above the first GiB: the direct map is there."""
    global alloc_limit
    alloc_limit = HIGH_LIMIT
