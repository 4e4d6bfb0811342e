"""memory_op with bad arguments, and a page given back and taken again."""

import abi
from kpy import Guest, i64, ref, static, u16, u32, u64

from libos.hypercall import hypercall, update_va_mapping
from libos.layout import PAGE_SHIFT, pfn_of
from libos.memory import PTE_KERNEL, machine_address, mfn_of
from libos.pages import alloc_pages
from libos.start_info import boot
from tests.guests.kernels.bad import HYPERVISOR, NO_DOMAIN, UNMAPPED
from tests.guests.kernels.report import check, expect

frame = static(u64)
OWN = abi.DOMID_SELF


def memory_op(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_memory_op, command, argument, 0, 0, 0)


def reservation(command: u64, order: u32, domid: u16) -> i64:
    """Give or take the one extent in `frame`."""
    op = abi.xen_memory_reservation(nr_extents=1, extent_order=order, domid=domid)
    op.extent_start = Guest[u64](u64(ref(frame)))
    return memory_op(command, u64(ref(op)))


def test_memory_op() -> None:
    """Operations on extents return how many they did: 0 for a list that cannot be read."""
    expect(b"memory: unknown command", memory_op(63, 0), -abi.ENOSYS)
    expect(b"memory: unmapped", memory_op(abi.XENMEM_populate_physmap, UNMAPPED), 0)
    expect(b"memory: hypervisor", memory_op(abi.XENMEM_populate_physmap, HYPERVISOR), 0)
    domid: u16 = NO_DOMAIN
    result = memory_op(abi.XENMEM_current_reservation, u64(ref(domid)))
    expect(b"memory: no such domain", result, -abi.ESRCH)
    domid = abi.DOMID_SELF
    result = memory_op(abi.XENMEM_current_reservation, u64(ref(domid)))
    check(b"memory: current_reservation", result >= i64(boot().nr_pages))
    check(b"memory: maximum_ram_page", memory_op(abi.XENMEM_maximum_ram_page, 0) > 4096)
    mapping = abi.xen_machphys_mapping()
    expect(b"memory: m2p", memory_op(abi.XENMEM_machphys_mapping, u64(ref(mapping))), 0)
    check(b"memory: m2p is where it is", mapping.v_start == abi.MACH2PHYS_VIRT_START)
    test_reservation()


def test_reservation() -> None:
    """A mapped page cannot go; an unmapped one can, and another comes."""
    global frame
    page = alloc_pages(1)
    frame = u64(mfn_of(pfn_of(page)))
    command = abi.XENMEM_decrease_reservation
    expect(b"memory: decrease, bad order", reservation(command, 60, OWN), 0)
    expect(b"memory: decrease, no such domain", reservation(command, 0, NO_DOMAIN), 0)
    expect(b"memory: unmap the page", update_va_mapping(page, 0, abi.UVMF_INVLPG), 0)
    expect(b"memory: decrease", reservation(command, 0, OWN), 1)
    expect(b"memory: decrease again", reservation(command, 0, OWN), 0)
    stale = frame << PAGE_SHIFT | PTE_KERNEL
    expect(b"memory: map what is gone", update_va_mapping(page, stale, 0), -abi.EBUSY)
    frame = u64(pfn_of(page))
    expect(b"memory: populate", reservation(abi.XENMEM_populate_physmap, 0, OWN), 1)
    fresh = frame << PAGE_SHIFT | PTE_KERNEL
    expect(b"memory: map the new frame", update_va_mapping(page, fresh, abi.UVMF_INVLPG), 0)
    check(b"memory: it is another address", machine_address(page) >> PAGE_SHIFT != 0)
