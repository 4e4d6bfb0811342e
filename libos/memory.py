"""Frames and page tables.

A PV kernel's page tables hold machine frame numbers and are read-only to it; each change is a
hypercall, which checks that no frame is a page table and writable at once. The p2m list (pfn to
mfn) is the builder's, the m2p table (mfn to pfn) the hypervisor's. libos maps memory up to
MAPPED_PAGES and leaves the rest alone.
"""

import abi
from kpy import Array, Ptr, load, ref, static, store, u64

from libos.hypercall import mmu_update, update_va_mapping
from libos.layout import PAGE_SHIFT, PAGE_SIZE, Mfn, Pfn, address_of, pfn_of
from libos.start_info import boot

MAPPED_PAGES = 16384  # 64 MiB; a 2 MiB step is one page table
ENTRIES = 512
PTE_PRESENT, PTE_RW, PTE_USER, PTE_ACCESSED, PTE_DIRTY = 1, 2, 4, 0x20, 0x40
PTE_KERNEL = PTE_PRESENT | PTE_RW | PTE_ACCESSED | PTE_DIRTY
PTE_READ_ONLY = PTE_PRESENT | PTE_ACCESSED
PTE_TABLE = PTE_KERNEL | PTE_USER
PTE_FRAME_MASK = 0x000F_FFFF_FFFF_F000

next_early_pfn = static(u64)
updates = static(Array[abi.mmu_update, ENTRIES])


def mfn_of(pfn: Pfn) -> Mfn:
    """Look a page up in the p2m list, which the builder mapped for us."""
    assert u64(pfn) < boot().nr_pages
    return Mfn(load(Ptr[u64](boot().mfn_list + 8 * u64(pfn))))


def machine_address(address: u64) -> u64:
    """The machine address of something in the direct map."""
    return u64(mfn_of(pfn_of(address))) << PAGE_SHIFT | address % PAGE_SIZE


def table_address(entry: u64) -> u64:
    """Where the page table that an entry points to is seen; m2p is mapped for every frame that is
    ours.
    """
    mfn = (entry & PTE_FRAME_MASK) >> PAGE_SHIFT
    return address_of(Pfn(load(Ptr[u64](abi.MACH2PHYS_VIRT_START + 8 * mfn))))


def map_shared_page(address: u64, mfn: Mfn) -> None:
    """Let a page of our image show a frame that we share with the hypervisor or another domain."""
    result = update_va_mapping(address, u64(mfn) << PAGE_SHIFT | PTE_KERNEL, abi.UVMF_INVLPG)
    assert result == 0


def entry_address(address: u64, level: u64) -> u64:
    """Find the page-table entry of a level (1 to 4) for an address, making the tables above it."""
    table = boot().pt_base
    for depth in reversed(range(1, 5)):
        entry = table + 8 * (address >> (PAGE_SHIFT + 9 * (depth - 1)) & (ENTRIES - 1))
        if depth == level:
            return entry
        if load(Ptr[u64](entry)) & PTE_PRESENT == 0:
            add_table(entry)
        table = table_address(load(Ptr[u64](entry)))
    return 0


def add_table(entry: u64) -> None:
    """Hang an empty page table below an entry: it must be read-only by then."""
    page = early_page()
    for i in range(ENTRIES):
        store(Ptr[u64](page + 8 * i), 0)
    machine = machine_address(page)
    assert update_va_mapping(page, machine | PTE_READ_ONLY, abi.UVMF_INVLPG) == 0
    set_entry(entry, machine | PTE_TABLE)


def set_entry(entry: u64, value: u64) -> None:
    updates[0].ptr = machine_address(entry) | abi.MMU_NORMAL_PT_UPDATE
    updates[0].val = value
    assert mmu_update(u64(ref(updates)), 1) == 0


def early_page() -> u64:
    """Take a page from behind the builder's last one; half a megabyte is mapped there."""
    global next_early_pfn
    page = next_early_pfn
    next_early_pfn += 1
    return address_of(Pfn(page))


def map_free_memory() -> tuple[Pfn, Pfn]:
    """Complete the direct map.

    Returns: the pages that nobody uses, first and one past the last.
    """
    global next_early_pfn
    # The builder puts its page tables last, and behind them a page of stack, unused now.
    next_early_pfn = u64(pfn_of(boot().pt_base)) + boot().nr_pt_frames
    end = min(boot().nr_pages, MAPPED_PAGES)
    pfn = next_early_pfn
    while pfn < end:
        chunk_end = min(end, (pfn // ENTRIES + 1) * ENTRIES)
        map_chunk(Pfn(pfn), chunk_end - pfn)
        pfn = chunk_end
    return Pfn(next_early_pfn), Pfn(end)


def map_chunk(first: Pfn, nr_pages: u64) -> None:
    """Map pages that share one level 1 table, where the builder did not: a single hypercall."""
    count: u64 = 0
    for i in range(nr_pages):
        entry = entry_address(address_of(first + i), 1)
        if load(Ptr[u64](entry)) & PTE_PRESENT == 0:
            updates[count].ptr = machine_address(entry) | abi.MMU_NORMAL_PT_UPDATE
            updates[count].val = u64(mfn_of(first + i)) << PAGE_SHIFT | PTE_KERNEL
            count += 1
    if count > 0:
        assert mmu_update(u64(ref(updates)), count) == 0
