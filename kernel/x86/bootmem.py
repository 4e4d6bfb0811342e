"""Machine memory as the firmware describes it, and the pages that the core takes from it before the
frame table exists.

`memory_map` is the firmware's map, sorted, without overlaps: where the firmware says two things of
one stretch, the one that makes less of it counts. RAM above 1 MiB that holds neither the image, nor
modules, nor something that `boot_alloc_pages` handed out is in `free_ranges`, which
`kernel.frames.frame` takes over by `end_boot_allocation`. Everything the core takes, it takes from
the top of the last range that fits, so that the low memory that old devices need stays free;
before the direct map exists only the first 4 GiB can be reached, and the ranges are cut
accordingly.
"""

from kpy import Array, Ptr, Slice, fill, panic, ref, static, struct, u8, u32, u64

from kernel.base.ids import PAGE_SIZE, Maddr
from kernel.x86 import boot_info
from kernel.x86.boot_area import EARLY_MAP_END
from kernel.x86.memlayout import image_to_maddr

E820_RAM = 1
E820_RESERVED = 2
E820_ACPI = 3
E820_NVS = 4
E820_UNUSABLE = 5
MAX_REGIONS = 256
NOT_DESCRIBED = 0
LOW_MEMORY_END = 1 << 20
USUAL_LOW_PAGE = 0x8000
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


firmware_map = static(Array[MemoryRegion, MAX_REGIONS])  # as it came
nr_firmware_regions = static(u64)
memory_map = static(Array[MemoryRegion, MAX_REGIONS])
nr_regions = static(u64)
free_ranges = static(Array[MemoryRange, MAX_REGIONS])
nr_free_ranges = static(u64)
alloc_limit = static(u64, EARLY_MAP_END)
pages_taken = static(u64)  # by boot_alloc_pages
image_end = static(u8, extern=True, symbol="image_end")
image_start = static(u8, extern=True, symbol="image_start")


def add_region(start: u64, length: u64, kind: u32) -> None:
    """Take over an entry of the firmware's map, less what is beyond any processor's reach."""
    global nr_firmware_regions
    if length == 0 or start >= HIGH_LIMIT:
        return
    if nr_firmware_regions == MAX_REGIONS:
        panic("the firmware's memory map has more than 256 entries")
    end = start + min(length, HIGH_LIMIT - start)
    firmware_map[nr_firmware_regions] = MemoryRegion(start=start, end=end, kind=kind)
    nr_firmware_regions += 1


def settle_memory_map() -> None:
    """Make `memory_map` of what the firmware said. Context: boot, once."""
    place: u64 = 0
    while place < HIGH_LIMIT:
        kind, end = look_at(place)
        if kind != NOT_DESCRIBED:
            append_region(place, end, kind)
        place = end


def find_free_ranges() -> None:
    """Find what of the RAM nobody has yet. Context: boot, once."""
    for i in range(nr_regions):
        if memory_map[i].kind == E820_RAM:
            add_free_range(memory_map[i].start, memory_map[i].end)
    reserve(u64(image_to_maddr(u64(ref(image_start)))), u64(image_to_maddr(u64(ref(image_end)))))
    for i in range(boot_info.nr_modules):
        start = u64(boot_info.module(i).start)
        reserve(start, start + boot_info.module(i).size)


def look_at(place: u64) -> tuple[u32, u64]:
    """Return what the firmware says of an address, and how far that holds. Of several entries the
    one with the largest kind counts.
    """
    kind: u32 = NOT_DESCRIBED
    end: u64 = HIGH_LIMIT
    for i in range(nr_firmware_regions):
        region = ref(firmware_map[i])
        if place < region.start:
            end = min(end, region.start)
        elif place < region.end:
            kind = max(kind, region.kind)
            end = min(end, region.end)
    return kind, end


def append_region(start: u64, end: u64, kind: u32) -> None:
    """Add a region behind the last one, or to it if it continues that."""
    global nr_regions
    if nr_regions != 0:
        last = ref(memory_map[nr_regions - 1])
        if last.end == start and last.kind == kind:
            last.end = end
            return
    if nr_regions == MAX_REGIONS:
        panic("the firmware's memory map has too many overlapping entries")
    memory_map[nr_regions] = MemoryRegion(start=start, end=end, kind=kind)
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


def low_ram_page() -> u64:
    """Return the machine address of a page of RAM that a processor in real mode can reach: the one
    at 32 KiB, which no BIOS uses, or the lowest that is RAM.
    """
    for i in range(nr_regions):
        region = ref(memory_map[i])
        if region.kind == E820_RAM and region.start <= USUAL_LOW_PAGE < region.end:
            return USUAL_LOW_PAGE
    for i in range(nr_regions):
        region = ref(memory_map[i])
        page = max((region.start + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE, PAGE_SIZE)
        if region.kind == E820_RAM and page + PAGE_SIZE <= min(region.end, LOW_MEMORY_END):
            return page
    panic("no RAM in the first MiB, where the other processors must start")


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
            fill(Slice[u8](Ptr[u8](boot_info.phys_window + start), n * PAGE_SIZE), 0)
            return Maddr(start)
    panic("not enough memory for the core's own tables")


def lift_alloc_limit() -> None:
    """Allow memory above the first 4 GiB: the direct map is there."""
    global alloc_limit
    alloc_limit = HIGH_LIMIT
