"""Where everything lies when domain 0 begins, in its virtual and its pseudo-physical memory.

The virtual addresses from `virt_base` on are pfns 0 and up, in this order, as the ABI demands
(xen.h, "start of day"):

    kernel | ramdisk (unless it needs no mapping) | pfn -> mfn list (unless wanted elsewhere) |
    start_info | page tables | stack | room up to a multiple of 4 MiB, at least 512 KiB

What is not mapped there has the pfns after it: the ramdisk, then the pfn -> mfn list with the
tables that map it, then the rest.
"""

from kpy import Ptr, inline, struct, u64

from kernel.base.ids import PAGE_SHIFT, PAGE_SIZE
from kernel.dom0.elf import KernelImage

L1_COVERS_SHIFT = 21
L2_COVERS_SHIFT = 30
L3_COVERS_SHIFT = 39
BOOT_ALIGNMENT = 4 << 20
BOOT_ROOM = 512 << 10


@struct
class Layout:
    """Virtual addresses, and numbers of pages."""

    nr_pages: u64  # of the whole domain
    start: u64
    kernel_end: u64
    ramdisk: u64  # only if it is mapped
    maps_ramdisk: bool
    ramdisk_pfn: u64
    nr_ramdisk: u64
    p2m: u64
    p2m_pfn: u64
    nr_p2m: u64  # pages of the list
    nr_p2m_tables: u64  # that map it, when it lies elsewhere
    start_info: u64
    tables: u64
    nr_tables: u64
    stack_end: u64
    end: u64
    nr_boot: u64  # pfns below this one are mapped from `start` on


@inline
def round_up(value: u64, alignment: u64) -> u64:
    """Round up to a multiple of a power of two."""
    return (value + alignment - 1) // alignment * alignment


def tables_covering(start: u64, last: u64, shift: u64) -> u64:
    """Return how many tables that cover 2^shift bytes each map the addresses `start` to `last`."""
    return (last >> shift) - (start >> shift) + 1


def plan(layout: Ptr[Layout], image: Ptr[KernelImage], nr_pages: u64, ramdisk_bytes: u64) -> None:
    """Decide where everything goes."""
    layout.nr_pages = nr_pages
    layout.start = image.virt_base
    layout.kernel_end = round_up(image.end, PAGE_SIZE)
    layout.nr_ramdisk = round_up(ramdisk_bytes, PAGE_SIZE) >> PAGE_SHIFT
    layout.nr_p2m = round_up(nr_pages * 8, PAGE_SIZE) >> PAGE_SHIFT
    place = layout.kernel_end
    layout.maps_ramdisk = not image.mod_start_is_pfn
    if layout.maps_ramdisk:
        layout.ramdisk = place
        place += layout.nr_ramdisk << PAGE_SHIFT
    own_p2m = image.init_p2m
    if own_p2m is None:
        layout.p2m = place
        place += layout.nr_p2m << PAGE_SHIFT
    else:
        layout.p2m = u64(own_p2m)
        layout.nr_p2m_tables = count_p2m_tables(layout)
    layout.start_info = place
    layout.tables = place + PAGE_SIZE
    plan_tables(layout)
    number_pages(layout, own_p2m is not None)


def number_pages(layout: Ptr[Layout], has_own_p2m: bool) -> None:
    """Find the pfns of the ramdisk and of the list."""
    layout.nr_boot = (layout.end - layout.start) >> PAGE_SHIFT
    layout.ramdisk_pfn = layout.nr_boot
    layout.p2m_pfn = layout.nr_boot + layout.nr_ramdisk
    if layout.maps_ramdisk:
        layout.ramdisk_pfn = (layout.ramdisk - layout.start) >> PAGE_SHIFT
        layout.p2m_pfn = layout.nr_boot
    if not has_own_p2m:
        layout.p2m_pfn = (layout.p2m - layout.start) >> PAGE_SHIFT


def count_p2m_tables(layout: Ptr[Layout]) -> u64:
    """Return how many tables the list needs at an address of its own; the L4 is there already."""
    last = layout.p2m + (layout.nr_p2m << PAGE_SHIFT) - 1
    return (
        tables_covering(layout.p2m, last, L1_COVERS_SHIFT)
        + tables_covering(layout.p2m, last, L2_COVERS_SHIFT)
        + tables_covering(layout.p2m, last, L3_COVERS_SHIFT)
    )


def plan_tables(layout: Ptr[Layout]) -> None:
    """Find how many page tables map everything, themselves included."""
    layout.nr_tables = 0
    while True:
        layout.stack_end = layout.tables + ((layout.nr_tables + 1) << PAGE_SHIFT)
        layout.end = round_up(layout.stack_end + BOOT_ROOM, BOOT_ALIGNMENT)
        last = layout.end - 1
        needed = (
            1
            + tables_covering(layout.start, last, L3_COVERS_SHIFT)
            + tables_covering(layout.start, last, L2_COVERS_SHIFT)
            + tables_covering(layout.start, last, L1_COVERS_SHIFT)
        )
        if needed <= layout.nr_tables:
            return
        layout.nr_tables = needed
