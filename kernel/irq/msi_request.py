"""The part of physdev_op about PCI devices: domain 0 says what it found and what it did to them.

The core keeps no list of devices: it asks the machine when it must know. Source: Xen public ABI,
physdev.h.
"""

import abi
from kpy import Ptr, Result, Tainted, i64, ok, require, u8, u32

from kernel.irq.operations import physdev_op
from kernel.irq.pirq_map import restore_messages
from kernel.state.vcpu import Vcpu
from kernel.x86.msi import CAPABILITY_MSIX, device_address, device_exists, find_capability


def find_device(caller: Ptr[Vcpu], bus: Tainted[u8], devfn: Tainted[u8]) -> Result[u32]:
    """Return the address of a device by which domain 0 names it.

    Errors: -EPERM, another caller; -ENODEV, nothing answers there.
    """
    require(caller.domain.is_privileged, -abi.EPERM)
    address = device_address(u32(bus), u32(devfn))
    require(device_exists(address), -abi.ENODEV)
    return address


def find_device_of(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_pci_device]]) -> Result[u32]:
    """Return the address of a device that is named with its segment, of which there is one.

    Errors: those of `find_device`.
    """
    require(caller.domain.is_privileged, -abi.EPERM)
    require(op.seg == 0, -abi.ENODEV)
    return find_device(caller, op.bus, op.devfn)


@physdev_op(abi.PHYSDEVOP_pci_device_add)
def pci_device_add(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_pci_device_add]]) -> Result[None]:
    """Hear that domain 0 has found a device. Errors: those of `find_device`."""
    require(caller.domain.is_privileged, -abi.EPERM)
    require(op.seg == 0, -abi.ENODEV)
    ok(find_device(caller, op.bus, op.devfn))


@physdev_op(abi.PHYSDEVOP_pci_device_remove)
def pci_device_remove(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_pci_device]]) -> Result[None]:
    """Hear that a device is going. Errors: those of `find_device`."""
    ok(find_device_of(caller, op))


@physdev_op(abi.PHYSDEVOP_restore_msi_ext)
def restore_msi_ext(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_pci_device]]) -> i64:
    """Write a device's messages anew, after it was reset. Errors: those of `find_device`."""
    ok(find_device_of(caller, op))
    return restore_messages(u32(op.bus), u32(op.devfn))


@physdev_op(abi.PHYSDEVOP_release_msix)
def release_msix(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_pci_device]]) -> i64:
    """Hear that a device's MSI-X is used no more. Errors: as `prepare_msix`."""
    return prepare_msix(caller, op)


@physdev_op(abi.PHYSDEVOP_prepare_msix)
def prepare_msix(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_pci_device]]) -> Result[None]:
    """Hear that a device's MSI-X is to be used.

    Errors: those of `find_device`; -ENODEV, it has no MSI-X.
    """
    address = ok(find_device_of(caller, op))
    require(find_capability(address, CAPABILITY_MSIX) != 0, -abi.ENODEV)


@physdev_op(abi.PHYSDEVOP_manage_pci_add)
def manage_pci_add(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_manage_pci]]) -> Result[None]:
    """Hear of a device in the older form. Errors: those of `find_device`."""
    ok(find_device(caller, op.bus, op.devfn))


@physdev_op(abi.PHYSDEVOP_manage_pci_remove)
def manage_pci_remove(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_manage_pci]]) -> Result[None]:
    """Hear that a device is going, in the older form. Errors: those of `find_device`."""
    ok(find_device(caller, op.bus, op.devfn))


@physdev_op(abi.PHYSDEVOP_restore_msi)
def restore_msi(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_manage_pci]]) -> i64:
    """Write a device's messages anew, in the older form. Errors: those of `find_device`."""
    ok(find_device(caller, op.bus, op.devfn))
    return restore_messages(u32(op.bus), u32(op.devfn))


@physdev_op(abi.PHYSDEVOP_manage_pci_add_ext)
def manage_pci_ext(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_manage_pci_ext]]) -> Result[None]:
    """Hear of a device in another older form. Errors: those of `find_device`."""
    ok(find_device(caller, op.bus, op.devfn))
