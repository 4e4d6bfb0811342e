"""The per-domain part of the address space, L4 slot 260: the descriptor tables of each vCPU.

32 pages a vCPU: 16 show its GDT (14 frames of the guest, then the page with the core's entries), 16
its LDT. The guest's frames are mapped read-only; `kernel.paging.descriptor` has checked every
descriptor in them and keeps them so by their type. A window's addresses depend on the vCPU's
number only. Only `set_gdt_frame` and `set_ldt_frame` change the mappings of a live domain.
"""

from kpy import Array, Ptr, inline, ref, static, struct, u64

from kernel.base.ids import Maddr, Mfn, Vaddr, mfn_to_maddr
from kernel.frames.core_page import alloc_core_page, free_core_page
from kernel.state.domain import Domain
from kernel.state.vcpu import MAX_VCPUS, Vcpu
from kernel.x86.bits import PTE_ACCESSED, PTE_DIRTY, PTE_NX, PTE_PRESENT, PTE_WRITE
from kernel.x86.descriptors import core_gdt
from kernel.x86.memlayout import (
    PERDOMAIN_VIRT_START,
    image_to_maddr,
    maddr_to_vaddr,
    mfn_to_vaddr,
    vaddr_to_maddr,
)
from kernel.x86.paging import TABLE, PageTable
from kernel.x86.selectors import RESERVED_GDT_PAGE
from kernel.x86.tlb import flush_tlb_one_local

PAGES_PER_VCPU = 32
VCPUS_PER_TABLE = 16
LDT_PAGE = 16
PAGE = 4096
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
    return PERDOMAIN_VIRT_START + u64(v.vcpu_id) * (PAGES_PER_VCPU * PAGE)


@inline
def ldt_window(v: Ptr[Vcpu]) -> u64:
    """Return where a vCPU's LDT begins."""
    return gdt_window(v) + LDT_PAGE * PAGE


def new_table() -> u64:
    """Return the machine address of a zeroed page, or 0."""
    page = alloc_core_page()
    return u64(vaddr_to_maddr(page)) if page is not None else u64(0)


def table_of(maddr: u64) -> Ptr[PageTable]:
    """Return a table that `new_table` made: a page of the core's, so the direct map shows it."""
    return Ptr[PageTable](u64(maddr_to_vaddr(Maddr(maddr))))


def create_perdomain(d: Ptr[Domain]) -> bool:
    """Make a new domain's tables; false when memory is short (destroy_perdomain then frees what
    there is).
    """
    l3 = new_table()
    l2 = new_table() if l3 != 0 else u64(0)
    if l2 == 0:
        if l3 != 0:
            free_core_page(maddr_to_vaddr(Maddr(l3)))
        return False
    table_of(l3)[0] = l2 | TABLE
    d.perdomain_l3 = Mfn(l3 >> 12)
    return True


def add_perdomain_vcpu(v: Ptr[Vcpu]) -> bool:
    """Make a new vCPU's window, with no guest descriptors yet; false when memory is short."""
    d = v.domain
    index = u64(v.vcpu_id) // VCPUS_PER_TABLE
    if d.perdomain_l1[index] == 0:
        l1 = new_table()
        if l1 == 0:
            return False
        d.perdomain_l1[index] = l1
        l2_table(d)[index] = l1 | TABLE
    core_page = u64(image_to_maddr(u64(ref(core_gdt))))
    entries = table_of(d.perdomain_l1[index])
    for page in range(RESERVED_GDT_PAGE):
        entries[window_index(v) + page] = empty_entry()
    entries[window_index(v) + RESERVED_GDT_PAGE] = core_page | READ_WRITE
    return True


def l2_table(d: Ptr[Domain]) -> Ptr[PageTable]:
    """Return a domain's L2 table."""
    l3 = table_of(u64(mfn_to_maddr(d.perdomain_l3)))
    return table_of(l3[0] & ~(PAGE - 1))


def destroy_perdomain(d: Ptr[Domain]) -> None:
    """Free a domain's tables. No processor uses them any more (`drop_lazy_state`)."""
    if u64(d.perdomain_l3) == 0:
        return
    for i in range(NR_TABLES):
        if d.perdomain_l1[i] != 0:
            free_core_page(maddr_to_vaddr(Maddr(d.perdomain_l1[i])))
            d.perdomain_l1[i] = 0
    free_core_page(Vaddr(u64(l2_table(d))))
    free_core_page(mfn_to_vaddr(d.perdomain_l3))
    d.perdomain_l3 = Mfn(0)


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
    table = table_of(v.domain.perdomain_l1[u64(v.vcpu_id) // VCPUS_PER_TABLE])
    table[window_index(v) + page] = entry
    flush_tlb_one_local(gdt_window(v) + page * PAGE)
    v.loaded_cpu = 0  # whichever processor loads it next must reload CR3, and so flush


def set_gdt_frame(v: Ptr[Vcpu], index: u64, mfn: Mfn) -> None:
    """Map a frame as page `index` of a vCPU's GDT, or unmap it (0). The caller holds a segdesc-type
    reference.
    """
    assert index < RESERVED_GDT_PAGE, "that GDT page is the core's"
    set_entry(v, index, u64(mfn) << 12 | READ_ONLY if u64(mfn) != 0 else empty_entry())


def set_ldt_frame(v: Ptr[Vcpu], index: u64, mfn: Mfn) -> None:
    """Map a frame as page `index` of a vCPU's LDT, or unmap it (0). The caller holds a segdesc-type
    reference.
    """
    assert index < LDT_PAGE, "an LDT has 16 pages"
    set_entry(v, LDT_PAGE + index, u64(mfn) << 12 | READ_ONLY if u64(mfn) != 0 else u64(0))
