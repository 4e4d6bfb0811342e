"""physdev_op: what a guest may not, and every documented error for dom0.

The model's machine has two I/O APICs' worth of nothing: no wires and no PCI devices.
"""

import abi
import pytest

from tests.model.codes import EDOM, EFAULT, EINVAL, ENODEV, ENOSYS, EOPNOTSUPP, EPERM, ESRCH
from tests.model.errors import NOBODY, SELF, UNMAPPED, ReadOnly, Wrong, check, hypercall, own_frame

op = hypercall(abi.__HYPERVISOR_physdev_op)
ANY = -1
MSI, GSI, MULTI = (
    abi.MAP_PIRQ_TYPE_MSI,
    abi.MAP_PIRQ_TYPE_GSI,
    abi.MAP_PIRQ_TYPE_MULTI_MSI,
)
OF_ALL = {  # operations that any guest may make
    abi.PHYSDEVOP_eoi: abi.physdev_eoi,
    abi.PHYSDEVOP_irq_status_query: abi.physdev_irq_status_query,
    abi.PHYSDEVOP_set_iopl: abi.physdev_set_iopl,
    abi.PHYSDEVOP_set_iobitmap: abi.physdev_set_iobitmap,
}
OF_DOM0 = {
    abi.PHYSDEVOP_map_pirq: abi.physdev_map_pirq,
    abi.PHYSDEVOP_unmap_pirq: abi.physdev_unmap_pirq,
    abi.PHYSDEVOP_setup_gsi: abi.physdev_setup_gsi,
    abi.PHYSDEVOP_get_free_pirq: abi.physdev_get_free_pirq,
    abi.PHYSDEVOP_pirq_eoi_gmfn_v2: abi.physdev_pirq_eoi_gmfn,
    abi.PHYSDEVOP_apic_read: abi.physdev_apic,
    abi.PHYSDEVOP_apic_write: abi.physdev_apic,
    abi.PHYSDEVOP_alloc_irq_vector: abi.physdev_irq,
    abi.PHYSDEVOP_pci_device_add: abi.physdev_pci_device_add,
    abi.PHYSDEVOP_pci_device_remove: abi.physdev_pci_device,
    abi.PHYSDEVOP_restore_msi_ext: abi.physdev_pci_device,
    abi.PHYSDEVOP_prepare_msix: abi.physdev_pci_device,
    abi.PHYSDEVOP_release_msix: abi.physdev_pci_device,
    abi.PHYSDEVOP_manage_pci_add: abi.physdev_manage_pci,
    abi.PHYSDEVOP_manage_pci_remove: abi.physdev_manage_pci,
    abi.PHYSDEVOP_restore_msi: abi.physdev_manage_pci,
    abi.PHYSDEVOP_manage_pci_add_ext: abi.physdev_manage_pci_ext,
}


def map_pirq(domid=SELF, type_=GSI, index=0, pirq=ANY, **fields):
    fields |= {"domid": domid, "type": type_, "index": index, "pirq": pirq}
    return op(abi.PHYSDEVOP_map_pirq, abi.physdev_map_pirq, **fields)


def unmap_pirq(domid=SELF, pirq=0):
    return op(abi.PHYSDEVOP_unmap_pirq, abi.physdev_unmap_pirq, domid=domid, pirq=pirq)


def setup_gsi(gsi):
    return op(abi.PHYSDEVOP_setup_gsi, abi.physdev_setup_gsi, gsi=gsi)


def eoi_page(frame):
    return op(abi.PHYSDEVOP_pirq_eoi_gmfn_v2, abi.physdev_pirq_eoi_gmfn, gmfn=frame)


def read_only(command, type_, **fields):
    return (abi.__HYPERVISOR_physdev_op, command, ReadOnly(type_, fields))


def dom0(why, call, error, first=None, leaves_trace=False):
    return Wrong(why, call, error, "dom0", first, leaves_trace)


def reserve_all(machine):
    """Set every pirq aside."""
    result = 0
    while result == 0:
        at = machine.dom0.put(abi.physdev_get_free_pirq, type=MSI)
        call = (abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_get_free_pirq, at)
        result = machine.dom0.call(*call)
    assert result == -abi.ENOSPC


def with_eoi_page(machine):
    """Let dom0 have its page of EOI bits."""
    at = machine.dom0.put(abi.physdev_pirq_eoi_gmfn, gmfn=machine.dom0.pages[12])
    call = (abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_pirq_eoi_gmfn_v2, at)
    assert machine.dom0.call(*call) == 0


TABLE = [
    Wrong("no such operation", op(99, at=0), ENOSYS),
    Wrong("eoi: no such pirq", op(abi.PHYSDEVOP_eoi, abi.physdev_eoi, irq=9999), EINVAL),
    Wrong("eoi: not dom0's", op(abi.PHYSDEVOP_eoi, abi.physdev_eoi, irq=5), EINVAL),
    dom0("eoi: no such pirq", op(abi.PHYSDEVOP_eoi, abi.physdev_eoi, irq=9999), EINVAL),
    Wrong(
        "irq_status_query: no such pirq",
        op(abi.PHYSDEVOP_irq_status_query, abi.physdev_irq_status_query, irq=9999),
        EINVAL,
    ),
    Wrong(
        "irq_status_query: read-only",
        read_only(abi.PHYSDEVOP_irq_status_query, abi.physdev_irq_status_query, irq=1),
        EFAULT,
        leaves_trace=True,
    ),
    Wrong("set_iopl: 4", op(abi.PHYSDEVOP_set_iopl, abi.physdev_set_iopl, iopl=4), EINVAL),
    Wrong(
        "set_iobitmap: too long",
        op(abi.PHYSDEVOP_set_iobitmap, abi.physdev_set_iobitmap, nr_ports=65537),
        EINVAL,
    ),
    Wrong(
        "set_iobitmap: in the core",
        op(
            abi.PHYSDEVOP_set_iobitmap,
            abi.physdev_set_iobitmap,
            nr_ports=8,
            bitmap=0xFFFF830000000000,
        ),
        EINVAL,
    ),
    Wrong("map_pirq: no such domain", map_pirq(NOBODY), ESRCH),
    dom0("map_pirq: no such domain", map_pirq(NOBODY), ESRCH),
    dom0("map_pirq: for another", map_pirq(1), EPERM),
    dom0("map_pirq: a negative wire", map_pirq(index=-1), EINVAL),
    dom0("map_pirq: no such wire", map_pirq(index=5000), EINVAL),
    dom0("map_pirq: no such type", map_pirq(type_=99), EINVAL),
    dom0("map_pirq: no message", map_pirq(type_=MULTI, index=-1, entry_nr=0), EDOM),
    dom0("map_pirq: too many messages", map_pirq(type_=MULTI, index=-1, entry_nr=33), EDOM),
    dom0("map_pirq: several messages", map_pirq(type_=MULTI, index=-1, entry_nr=2), EOPNOTSUPP),
    dom0("map_pirq: a message with a number", map_pirq(type_=MSI, index=3), EINVAL),
    dom0("map_pirq: another segment", map_pirq(type_=MSI, index=-1, bus=1 << 16), EINVAL),
    dom0("map_pirq: a negative entry", map_pirq(type_=MSI, index=-1, entry_nr=-1), EINVAL),
    dom0("map_pirq: no device", map_pirq(type_=MSI, index=-1), ENODEV),
    Wrong("unmap_pirq: no such domain", unmap_pirq(NOBODY), ESRCH),
    dom0("unmap_pirq: no such domain", unmap_pirq(NOBODY), ESRCH),
    dom0("unmap_pirq: another's", unmap_pirq(1), EPERM),
    dom0("unmap_pirq: negative", unmap_pirq(pirq=-1), EINVAL),
    dom0("unmap_pirq: no such", unmap_pirq(pirq=9999), EINVAL),
    dom0("unmap_pirq: not mapped", unmap_pirq(pirq=200), EINVAL),
    dom0("setup_gsi: negative", setup_gsi(-1), EINVAL),
    dom0("setup_gsi: no such wire", setup_gsi(5000), EINVAL),
    dom0(
        "get_free_pirq: none",
        op(abi.PHYSDEVOP_get_free_pirq, abi.physdev_get_free_pirq, type=MSI),
        -abi.ENOSPC,
        first=reserve_all,
    ),
    dom0(
        "get_free_pirq: read-only",
        read_only(abi.PHYSDEVOP_get_free_pirq, abi.physdev_get_free_pirq, type=MSI),
        EFAULT,
        leaves_trace=True,
    ),
    dom0("eoi page: a page table", eoi_page(lambda m: m.dom0.pages[3]), EINVAL),
    dom0("eoi page: another's", eoi_page(own_frame(9)), EINVAL),
    dom0("eoi page: a second one", eoi_page(lambda m: m.dom0.pages[13]), -abi.EBUSY, with_eoi_page),
    dom0("apic_read: none there", op(abi.PHYSDEVOP_apic_read, abi.physdev_apic), EINVAL),
    dom0("apic_write: none there", op(abi.PHYSDEVOP_apic_write, abi.physdev_apic), EINVAL),
    dom0(
        "alloc_irq_vector: read-only",
        read_only(abi.PHYSDEVOP_alloc_irq_vector, abi.physdev_irq, irq=3),
        EFAULT,
        leaves_trace=True,
    ),
    dom0(
        "device_add: another segment",
        op(abi.PHYSDEVOP_pci_device_add, abi.physdev_pci_device_add, seg=1),
        ENODEV,
    ),
    dom0(
        "device_add: nothing there",
        op(abi.PHYSDEVOP_pci_device_add, abi.physdev_pci_device_add),
        ENODEV,
    ),
    dom0(
        "prepare_msix: another segment",
        op(abi.PHYSDEVOP_prepare_msix, abi.physdev_pci_device, seg=1),
        ENODEV,
    ),
    dom0("prepare_msix: none", op(abi.PHYSDEVOP_prepare_msix, abi.physdev_pci_device), ENODEV),
    dom0("release_msix: none", op(abi.PHYSDEVOP_release_msix, abi.physdev_pci_device), ENODEV),
    dom0(
        "manage_pci_add: nothing there",
        op(abi.PHYSDEVOP_manage_pci_add, abi.physdev_manage_pci),
        ENODEV,
    ),
    dom0(
        "manage_pci_add_ext: nothing there",
        op(abi.PHYSDEVOP_manage_pci_add_ext, abi.physdev_manage_pci_ext),
        ENODEV,
    ),
]
for command, type_ in (OF_ALL | OF_DOM0).items():
    TABLE.append(dom0(f"{type_.name} {command}: unmapped", op(command, at=UNMAPPED), EFAULT))
for command, type_ in OF_DOM0.items():
    fields = {"domid": SELF} if "domid" in type_.fields else {}
    TABLE.append(Wrong(f"{type_.name} {command}: not dom0", op(command, type_, **fields), EPERM))


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_refused(machine, row):
    check(machine, row)
