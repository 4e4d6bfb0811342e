"""mmu_update, mmuext_op, update_va_mapping: a page table is never writable, a foreign frame never
ours.
"""

import abi
from kpy import Ptr, i64, ref, static, store, u32, u64

from libos.hypercall import hypercall, mmu_update, update_va_mapping
from libos.layout import PAGE_SHIFT, pfn_of
from libos.memory import PTE_KERNEL, PTE_READ_ONLY, entry_address, machine_address, mfn_of
from libos.pages import alloc_pages, free_pages
from libos.probe import probe_store
from libos.start_info import boot
from tests.guests.kernels.bad import HYPERVISOR, NO_DOMAIN, NO_FRAME, UNMAPPED
from tests.guests.kernels.report import check, expect

NOWHERE = NO_FRAME << PAGE_SHIFT | PTE_KERNEL  # an l1e that no guest may have


def update(pointer: u64, value: u64) -> i64:
    request = abi.mmu_update(ptr=pointer, val=value)
    return mmu_update(u64(ref(request)), 1)


def extended(command: u32, mfn: u64) -> i64:
    operation = abi.mmuext_op(cmd=command)
    operation.arg1.mfn = mfn
    return hypercall(abi.__HYPERVISOR_mmuext_op, u64(ref(operation)), 1, 0, abi.DOMID_SELF, 0)


def remap(page: u64, flags: u64) -> i64:
    return update_va_mapping(page, machine_address(page) | flags, abi.UVMF_INVLPG)


nothing = static(abi.mmu_update)


def test_page_tables() -> None:
    page = alloc_pages(1)
    test_arguments(page)
    test_writable_page_table(page)
    test_pins(page)
    free_pages(page, 1)


def test_arguments(page: u64) -> None:
    entry = machine_address(entry_address(page, 1))
    expect(b"mmu: unmapped requests", mmu_update(UNMAPPED, 1), -abi.EFAULT)
    expect(b"mmu: no requests", mmu_update(UNMAPPED, 0), 0)
    expect(b"mmu: entry in no frame", update(NO_FRAME << PAGE_SHIFT, 0), -abi.EINVAL)
    expect(b"mmu: a plain page of our own", update(machine_address(page), 0), 0)
    expect(b"mmu: l1e to no frame", update(entry, NOWHERE), -abi.EPERM)
    result = hypercall(abi.__HYPERVISOR_mmu_update, u64(ref(nothing)), 1, 0, NO_DOMAIN, 0)
    expect(b"mmu: no such domain", result, -abi.ESRCH)
    l1e = machine_address(page) | PTE_KERNEL
    expect(b"mmu: va in the hypervisor", update_va_mapping(HYPERVISOR, l1e, 0), -abi.EINVAL)
    expect(b"mmu: va without a table", update_va_mapping(UNMAPPED, l1e, 0), -abi.EINVAL)


def test_writable_page_table(page: u64) -> None:
    """The heart of PV: nothing is a page table and mapped writable at once."""
    table = entry_address(page, 1)
    l1 = table >> PAGE_SHIFT << PAGE_SHIFT
    check(b"mmu: a page table cannot be written", not probe_store(l1 + 8, NOWHERE))
    l1_writable = machine_address(l1) | PTE_KERNEL
    l1_entry = machine_address(entry_address(l1, 1))
    expect(b"mmu: nor mapped writable", update_va_mapping(l1, l1_writable, 0), -abi.EBUSY)
    expect(b"mmu: by either way", update(l1_entry, l1_writable), -abi.EBUSY)
    mfn = u64(mfn_of(pfn_of(page)))
    expect(b"mmu: pin while writable", extended(abi.MMUEXT_PIN_L1_TABLE, mfn), -abi.EINVAL)
    expect(b"mmu: make it read-only", remap(page, PTE_READ_ONLY), 0)
    expect(b"mmu: pin an empty l1", extended(abi.MMUEXT_PIN_L1_TABLE, mfn), 0)
    expect(b"mmu: pin again", extended(abi.MMUEXT_PIN_L1_TABLE, mfn), -abi.EINVAL)
    expect(b"mmu: writable while pinned", remap(page, PTE_KERNEL), -abi.EBUSY)
    expect(b"mmu: as another type", extended(abi.MMUEXT_PIN_L2_TABLE, mfn), -abi.EINVAL)
    expect(b"mmu: as cr3", extended(abi.MMUEXT_NEW_BASEPTR, mfn), -abi.EINVAL)
    expect(b"mmu: unpin", extended(abi.MMUEXT_UNPIN_TABLE, mfn), 0)
    expect(b"mmu: unpin again", extended(abi.MMUEXT_UNPIN_TABLE, mfn), -abi.EINVAL)
    expect(b"mmu: writable again", remap(page, PTE_KERNEL), 0)


def test_pins(page: u64) -> None:
    """A table with one bad entry is refused whole."""
    mfn = u64(mfn_of(pfn_of(page)))
    store(Ptr[u64](page + 8), NOWHERE)
    expect(b"mmu: read-only again", remap(page, PTE_READ_ONLY), 0)
    expect(b"mmu: pin garbage", extended(abi.MMUEXT_PIN_L1_TABLE, mfn), -abi.EPERM)
    expect(b"mmu: pin garbage as l2", extended(abi.MMUEXT_PIN_L2_TABLE, mfn), -abi.EINVAL)
    expect(b"mmu: pin garbage as l4", extended(abi.MMUEXT_PIN_L4_TABLE, mfn), -abi.EINVAL)
    expect(b"mmu: pin no frame", extended(abi.MMUEXT_PIN_L1_TABLE, NO_FRAME), -abi.EINVAL)
    expect(b"mmu: unknown extended command", extended(99, mfn), -abi.ENOSYS)
    expect(b"mmu: make it writable", remap(page, PTE_KERNEL), 0)
    store(Ptr[u64](page + 8), 0)
    l4 = u64(mfn_of(pfn_of(boot().pt_base)))
    expect(b"mmu: the same cr3", extended(abi.MMUEXT_NEW_BASEPTR, l4), 0)
    expect(b"mmu: clear_page of a page table", extended(abi.MMUEXT_CLEAR_PAGE, l4), -abi.EINVAL)
