"""Domain 0's memory: frames for every pfn, and the pfn -> mfn list that says which.

The list is adjacent in machine memory, so the builder uses it as an array. The ramdisk's frames are
the boot module's own, handed over instead of copied; everything else comes in blocks as large as
the heap has them.
"""

from kpy import Ptr, Slice, copy_slice, fill, inline, panic, static, u8, u32, u64

from kernel.base.ids import ENTRIES_PER_PAGE, PAGE_SHIFT, PAGE_SIZE, Mfn
from kernel.dom0.layout import Layout
from kernel.frames.allocation import adopt_boot_frames, alloc_domain_frames
from kernel.frames.m2p import set_m2p
from kernel.state.domain import Domain
from kernel.x86.memlayout import mfn_to_vaddr

LARGEST_ORDER = 18
INVALID_P2M = (1 << 64) - 1  # in the list, as Linux has it: a pfn without a frame

p2m = static(Slice[u64])  # domain 0's list while it is built


def populate(d: Ptr[Domain], layout: Ptr[Layout], ramdisk: Mfn | None) -> None:
    """Give the domain its frames, `layout.nr_pages` of them, and fill in the list."""
    global p2m
    order = order_of(layout.nr_p2m)
    list_mfn = alloc_domain_frames(d, order, 0)
    if list_mfn is None:
        panic("not enough adjacent memory for domain 0's pfn -> mfn list")
    entries = Ptr[u64](u64(mfn_to_vaddr(list_mfn)))  # nr_p2m frames in one piece, just allocated
    p2m = Slice[u64](entries, layout.nr_p2m * ENTRIES_PER_PAGE)
    fill(p2m, INVALID_P2M)
    assign(layout.p2m_pfn, list_mfn, layout.nr_p2m)
    if ramdisk is not None:
        adopt_boot_frames(d, ramdisk, layout.nr_ramdisk)
        assign(layout.ramdisk_pfn, ramdisk, layout.nr_ramdisk)
    spare = (1 << u64(order)) - layout.nr_p2m
    fill_holes(d, layout.nr_pages, list_mfn + layout.nr_p2m, spare)


def order_of(nr: u64) -> u32:
    """Return the smallest order whose blocks hold `nr` frames."""
    order: u32 = 0
    while 1 << u64(order) < nr:
        order += 1
    return order


def assign(pfn: u64, mfn: Mfn, nr: u64) -> None:
    """Make adjacent frames those of adjacent pfns."""
    for i in range(nr):
        p2m[pfn + i] = u64(mfn) + i
        set_m2p(mfn + i, pfn + i)


def fill_holes(d: Ptr[Domain], nr_pages: u64, spare: Mfn, nr_spare: u64) -> None:
    """Give every pfn that has none a frame: first the spare ones, which the domain owns already."""
    pfn: u64 = 0
    while pfn < nr_pages:
        if p2m[pfn] != INVALID_P2M:
            pfn += 1
            continue
        end = pfn
        while end < nr_pages and p2m[end] == INVALID_P2M:
            end += 1
        nr = min(end - pfn, nr_spare)
        assign(pfn, spare, nr)
        spare += nr
        nr_spare -= nr
        fill_hole(d, pfn + nr, end)
        pfn = end


def fill_hole(d: Ptr[Domain], start: u64, end: u64) -> None:
    """Give the pfns from `start` to `end` frames, in the largest blocks that there are."""
    pfn = start
    order: u32 = LARGEST_ORDER
    while pfn < end:
        while 1 << u64(order) > end - pfn:
            order -= 1
        mfn = alloc_domain_frames(d, order, 0)
        if mfn is not None:
            nr = 1 << u64(order)
            assign(pfn, mfn, nr)
            pfn += nr
        elif order == 0:
            panic("domain 0's memory: fewer frames are free than were counted")
        else:
            order -= 1


@inline
def frame_address(layout: Ptr[Layout], address: u64) -> u64:
    """Return where the direct map shows an address of domain 0's boot mapping."""
    offset = address - layout.start
    frame = u64(mfn_to_vaddr(Mfn(p2m[offset >> PAGE_SHIFT])))
    return frame + offset % PAGE_SIZE


def write(layout: Ptr[Layout], address: u64, bytes_: Slice[u8]) -> None:
    """Copy bytes to an address of the boot mapping."""
    done: u64 = 0
    while done < len(bytes_):
        to = address + done
        nr = min(PAGE_SIZE - to % PAGE_SIZE, len(bytes_) - done)
        there = Slice[u8](Ptr[u8](frame_address(layout, to)), nr)  # within one frame of the domain
        copy_slice(there, bytes_[done : done + nr])
        done += nr


def clear(layout: Ptr[Layout], address: u64, size: u64) -> None:
    """Clear a stretch of the boot mapping."""
    done: u64 = 0
    while done < size:
        to = address + done
        nr = min(PAGE_SIZE - to % PAGE_SIZE, size - done)
        fill(Slice[u8](Ptr[u8](frame_address(layout, to)), nr), 0)  # within one frame of the domain
        done += nr
