"""The tables behind a domain's part of the address space (kernel/x86/perdomain.py), made and freed
with the domain.
"""

from kpy import Ptr, ref, u64

from kernel.base.ids import PAGE_SIZE, Maddr, Mfn, Vaddr, mfn_to_maddr
from kernel.frames.core_page import alloc_core_page, free_core_page
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.descriptors import core_gdt
from kernel.x86.memlayout import image_to_maddr, maddr_to_vaddr, mfn_to_vaddr, vaddr_to_maddr
from kernel.x86.paging import TABLE, PageTable
from kernel.x86.perdomain import (
    NR_TABLES,
    READ_WRITE,
    VCPUS_PER_TABLE,
    empty_entry,
    table_of,
    window_index,
)
from kernel.x86.selectors import RESERVED_GDT_PAGE


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


def new_table() -> u64:
    """Return the machine address of a zeroed page, or 0."""
    page = alloc_core_page()
    return u64(vaddr_to_maddr(page)) if page is not None else u64(0)


def l2_table(d: Ptr[Domain]) -> Ptr[PageTable]:
    """Return a domain's L2 table."""
    l3 = table_of(u64(mfn_to_maddr(d.perdomain_l3)))
    return table_of(l3[0] & ~(PAGE_SIZE - 1))
