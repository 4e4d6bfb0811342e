"""The page allocator: one bit a page, first fit. `alloc_pages(n)` gives n adjoining pages of the
direct map, zeroed.
"""

from kpy import Array, Ptr, Slice, bit, fill, panic, static, u8, u64

from libos.layout import PAGE_SIZE, WORD_BITS, Pfn, address_of, pfn_of
from libos.memory import MAPPED_PAGES, map_free_memory

free_bits = static(Array[u64, MAPPED_PAGES // WORD_BITS])  # 1: free
nr_free = static(u64)


def init_pages() -> None:
    """Map all memory, then own what is free."""
    first, end = map_free_memory()
    free_range(first, end - first)


def is_free(pfn: Pfn) -> bool:
    return free_bits[u64(pfn) // WORD_BITS] & bit(u64(pfn) % WORD_BITS) != 0


def free_range(first: Pfn, nr_pages: u64) -> None:
    global nr_free
    for i in range(nr_pages):
        pfn = u64(first) + i
        assert not is_free(Pfn(pfn)), "page freed twice"
        free_bits[pfn // WORD_BITS] |= bit(pfn % WORD_BITS)
    nr_free += nr_pages


def alloc_pages(nr_pages: u64) -> u64:
    """Take pages; panics when there are none.

    Returns: the virtual address of the first one.
    """
    run: u64 = 0
    for pfn in range(MAPPED_PAGES):
        run = run + 1 if is_free(Pfn(pfn)) else 0
        if run == nr_pages:
            return take(Pfn(pfn + 1 - nr_pages), nr_pages)
    panic("out of memory")


def take(first: Pfn, nr_pages: u64) -> u64:
    global nr_free
    for i in range(nr_pages):
        pfn = u64(first) + i
        free_bits[pfn // WORD_BITS] &= ~bit(pfn % WORD_BITS)
    nr_free -= nr_pages
    address = address_of(first)
    fill(Slice[u8](Ptr[u8](address), nr_pages * PAGE_SIZE), 0)
    return address


def free_pages(address: u64, nr_pages: u64) -> None:
    free_range(pfn_of(address), nr_pages)
