"""The per-domain part of the address space, L4 slot 260: the descriptor tables of each vCPU.

32 pages a vCPU: 16 show its GDT (14 frames of the guest, then the page with the core's entries), 16
its LDT. The guest's frames are mapped read-only; `kernel.paging.descriptor` has checked every
descriptor in them and keeps them so by their type. A window's addresses depend on the vCPU's
number only. Only `set_gdt_frame` and `set_ldt_frame` change the mappings of a live domain.
"""

from kpy import Array, Ptr, inline, ref, static, struct, u64

from kernel.base.ids import PAGE_SIZE, Maddr, Mfn, mfn_to_maddr
from kernel.state.vcpu import MAX_VCPUS, Vcpu
from kernel.x86.bits import PTE_ACCESSED, PTE_DIRTY, PTE_NX, PTE_PRESENT, PTE_WRITE
from kernel.x86.memlayout import (
    PERDOMAIN_VIRT_START,
    image_to_maddr,
    maddr_to_vaddr,
)
from kernel.x86.paging import PageTable
from kernel.x86.selectors import RESERVED_GDT_PAGE
from kernel.x86.tlb import flush_tlb_one_local

PAGES_PER_VCPU = 32
VCPUS_PER_TABLE = 16
LDT_PAGE = 16
LDT_WINDOW_BYTES = (PAGES_PER_VCPU - LDT_PAGE) * PAGE_SIZE
NR_TABLES = MAX_VCPUS // VCPUS_PER_TABLE
READ_ONLY = PTE_PRESENT | PTE_ACCESSED | PTE_NX
READ_WRITE = READ_ONLY | PTE_WRITE | PTE_DIRTY


@struct(align=4096)
class DescriptorPage:
    descriptors: Array[u64, 512]


# where a guest has no frame: selectors find nothing there
empty_descriptors = static(DescriptorPage)


@inline
def gdt_window(v: Ptr[Vcpu]) -> u64:
    """Return where a vCPU's GDT begins."""
    return PERDOMAIN_VIRT_START + u64(v.vcpu_id) * (PAGES_PER_VCPU * PAGE_SIZE)


@inline
def ldt_window(v: Ptr[Vcpu]) -> u64:
    """Return where a vCPU's LDT begins."""
    return gdt_window(v) + LDT_PAGE * PAGE_SIZE


def table_of(maddr: Maddr) -> Ptr[PageTable]:
    """Return a table that `new_table` made: a page of the core's, so the direct map shows it."""
    return Ptr[PageTable](u64(maddr_to_vaddr(maddr)))


def window_index(v: Ptr[Vcpu]) -> u64:
    """Return the index of a vCPU's first entry in its L1 table."""
    return u64(v.vcpu_id) % VCPUS_PER_TABLE * PAGES_PER_VCPU


def empty_entry() -> u64:
    """Return the entry of a GDT page that has no frame: a selector there is no reason for a page
    fault.
    """
    return u64(image_to_maddr(u64(ref(empty_descriptors)))) | READ_ONLY


def set_entry(v: Ptr[Vcpu], page: u64, entry: u64) -> None:
    """Change a page of a vCPU's window. The vCPU is the running one, or stopped."""
    l1 = v.domain.perdomain_l1[u64(v.vcpu_id) // VCPUS_PER_TABLE]
    assert l1 is not None, "a vCPU has no window for descriptor tables"
    table_of(l1)[window_index(v) + page] = entry
    flush_tlb_one_local(gdt_window(v) + page * PAGE_SIZE)
    v.loaded_cpu = 0  # whichever processor loads it next must reload CR3, and so flush


def set_gdt_frame(v: Ptr[Vcpu], index: u64, mfn: Mfn | None) -> None:
    """Map a frame, to which the caller holds a seg_desc type reference, as page `index` of a vCPU's
    GDT, or none.
    """
    assert index < RESERVED_GDT_PAGE, "that GDT page is the core's"
    set_entry(v, index, u64(mfn_to_maddr(mfn)) | READ_ONLY if mfn is not None else empty_entry())


def set_ldt_frame(v: Ptr[Vcpu], index: u64, mfn: Mfn | None) -> None:
    """Map a frame, to which the caller holds a seg_desc type reference, as page `index` of a vCPU's
    LDT, or none.
    """
    assert index < LDT_PAGE, "an LDT has 16 pages"
    entry = u64(mfn_to_maddr(mfn)) | READ_ONLY if mfn is not None else u64(0)
    set_entry(v, LDT_PAGE + index, entry)
