"""Domain 0's first page tables, written before it runs and then validated like those of any guest.

The boot mapping's tables lie inside it, read-only as the ABI demands; a pfn -> mfn list at an
address of its own has more behind it.
"""

from kpy import Ptr, panic, static, struct, u64, zero

from kernel.base.ids import ENTRIES_PER_PAGE, PAGE_SHIFT, PAGE_SIZE, Mfn
from kernel.dom0.layout import Layout
from kernel.dom0.memory import p2m
from kernel.x86.bits import PTE_ACCESSED, PTE_ADDRESS, PTE_DIRTY, PTE_PRESENT, PTE_USER, PTE_WRITE
from kernel.x86.memlayout import mfn_to_vaddr
from kernel.x86.paging import PageTable

TABLE_FLAGS = PTE_PRESENT | PTE_WRITE | PTE_USER | PTE_ACCESSED | PTE_DIRTY
READ_ONLY_FLAGS = PTE_PRESENT | PTE_USER | PTE_ACCESSED
WRITABLE_FLAGS = READ_ONLY_FLAGS | PTE_WRITE | PTE_DIRTY
TOP_LEVEL = 4
BITS_PER_LEVEL = 9


@struct
class TablePool:
    """Pfns that become page tables, one after the other."""

    next_pfn: u64
    end_pfn: u64


pool = static(TablePool)


def build_tables(layout: Ptr[Layout]) -> Mfn:
    """Write all page tables. Returns: the L4."""
    first = (layout.tables - layout.start) >> PAGE_SHIFT
    end = first + layout.nr_tables
    pool.next_pfn = first
    pool.end_pfn = end
    l4 = new_table()
    for pfn in range(layout.nr_boot):
        flags: u64 = READ_ONLY_FLAGS if first <= pfn < end else WRITABLE_FLAGS
        map_frame(l4, layout.start + (pfn << PAGE_SHIFT), p2m[pfn], flags)
    if layout.nr_p2m_tables != 0:
        pool.next_pfn = layout.p2m_pfn + layout.nr_p2m
        pool.end_pfn = pool.next_pfn + layout.nr_p2m_tables
        for i in range(layout.nr_p2m):
            map_frame(l4, layout.p2m + i * PAGE_SIZE, p2m[layout.p2m_pfn + i], WRITABLE_FLAGS)
    return l4


def new_table() -> Mfn:
    """Return an empty page table from the pool."""
    if pool.next_pfn == pool.end_pfn:
        panic("domain 0's page tables do not fit where they were planned")
    mfn = Mfn(p2m[pool.next_pfn])
    pool.next_pfn += 1
    zero(table_at(mfn))
    return mfn


def table_at(mfn: Mfn) -> Ptr[PageTable]:
    """Return a page table in the direct map. It is a frame of domain 0, which does not run yet."""
    return Ptr[PageTable](u64(mfn_to_vaddr(mfn)))


def map_frame(l4: Mfn, address: u64, mfn: u64, flags: u64) -> None:
    """Map one page, making the tables on the way down."""
    table = table_at(l4)
    level: u64 = TOP_LEVEL
    while level > 1:
        index = address >> (PAGE_SHIFT + BITS_PER_LEVEL * (level - 1)) & (ENTRIES_PER_PAGE - 1)
        if table[index] == 0:
            table[index] = u64(new_table()) << PAGE_SHIFT | TABLE_FLAGS
        table = table_at(Mfn((table[index] & PTE_ADDRESS) >> PAGE_SHIFT))
        level -= 1
    table[address >> PAGE_SHIFT & (ENTRIES_PER_PAGE - 1)] = mfn << PAGE_SHIFT | flags
