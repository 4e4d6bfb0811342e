"""The tables behind a domain's part of the address space (kernel/x86/perdomain.py), made and freed
with the domain.
"""

from kpy import Ptr, ref, require, u64

from kernel.base.ids import PAGE_SIZE, Maddr, Vaddr, maddr_to_mfn, mfn_to_maddr
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
    require(l3 is not None, False)
    l2 = new_table()
    if l2 is None:
        free_core_page(maddr_to_vaddr(l3))
        return False
    table_of(l3)[0] = u64(l2) | TABLE
    d.perdomain_l3 = maddr_to_mfn(l3)
    return True


def add_perdomain_vcpu(v: Ptr[Vcpu]) -> bool:
    """Make a new vCPU's window, with no guest descriptors yet; false when memory is short."""
    d = v.domain
    index = u64(v.vcpu_id) // VCPUS_PER_TABLE
    l1 = d.perdomain_l1[index]
    if l1 is None:
        l1 = new_table()
        require(l1 is not None, False)
        d.perdomain_l1[index] = l1
        l2_table(d)[index] = u64(l1) | TABLE
    core_page = u64(image_to_maddr(u64(ref(core_gdt))))
    entries = table_of(l1)
    for page in range(RESERVED_GDT_PAGE):
        entries[window_index(v) + page] = empty_entry()
    entries[window_index(v) + RESERVED_GDT_PAGE] = core_page | READ_WRITE
    return True


def destroy_perdomain(d: Ptr[Domain]) -> None:
    """Free a domain's tables. No processor uses them any more (`drop_lazy_state`)."""
    l3 = d.perdomain_l3
    if l3 is None:
        return
    for i in range(NR_TABLES):
        l1 = d.perdomain_l1[i]
        if l1 is not None:
            free_core_page(maddr_to_vaddr(l1))
            d.perdomain_l1[i] = None
    free_core_page(Vaddr(u64(l2_table(d))))
    free_core_page(mfn_to_vaddr(l3))
    d.perdomain_l3 = None


def new_table() -> Maddr | None:
    """Return the machine address of a zeroed page, None when memory is out."""
    page = alloc_core_page()
    return vaddr_to_maddr(page) if page is not None else None


def l2_table(d: Ptr[Domain]) -> Ptr[PageTable]:
    """Return a domain's L2 table."""
    l3 = d.perdomain_l3
    assert l3 is not None, "a domain has no window for descriptor tables"
    return table_of(Maddr(table_of(mfn_to_maddr(l3))[0] & ~(PAGE_SIZE - 1)))
