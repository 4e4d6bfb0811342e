"""The part of physdev_op about PCI devices: domain 0 says what it found and what it did to them.

The core keeps no list of devices: it asks the machine when it must know. Source: Xen public ABI,
physdev.h.
"""

import abi
from kpy import Guest, Ptr, i64, ref, require, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest
from kernel.irq.pirq_map import restore_messages
from kernel.state.domain import Domain
from kernel.x86.msi import CAPABILITY_MSIX, device_address, device_exists, find_capability


def pci_op(d: Ptr[Domain], cmd: u32, arg: u64) -> i64:
    """Serve an operation on PCI devices. The core keeps no list of them: it asks the machine when
    it must know.
    """
    match cmd:
        case abi.PHYSDEVOP_pci_device_add:
            return op_pci_device_add(d, Guest[abi.physdev_pci_device_add](arg))
        case (
            abi.PHYSDEVOP_pci_device_remove
            | abi.PHYSDEVOP_restore_msi_ext
            | abi.PHYSDEVOP_prepare_msix
        ):
            return op_pci_device(d, cmd, Guest[abi.physdev_pci_device](arg))
        case abi.PHYSDEVOP_release_msix:
            return op_pci_device(d, cmd, Guest[abi.physdev_pci_device](arg))
        case (
            abi.PHYSDEVOP_manage_pci_add
            | abi.PHYSDEVOP_manage_pci_remove
            | abi.PHYSDEVOP_restore_msi
        ):
            return op_manage_pci(d, cmd, Guest[abi.physdev_manage_pci](arg))
        case abi.PHYSDEVOP_manage_pci_add_ext:
            return op_manage_pci_ext(d, Guest[abi.physdev_manage_pci_ext](arg))
        case _:
            return -abi.ENOSYS


def op_pci_device_add(d: Ptr[Domain], arg: Guest[abi.physdev_pci_device_add]) -> i64:
    """PHYSDEVOP_pci_device_add: domain 0 has found a device. Errors: -ENODEV, nothing answers
    there.
    """
    op = uninitialized(abi.physdev_pci_device_add)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    require(op.seg == 0 and device_exists(device_address(u32(op.bus), u32(op.devfn))), -abi.ENODEV)
    return 0


def op_pci_device(d: Ptr[Domain], cmd: u32, arg: Guest[abi.physdev_pci_device]) -> i64:
    """PHYSDEVOP_pci_device_remove, restore_msi_ext, prepare_msix, release_msix. Errors: -ENODEV,
    nothing answers there, or it has no MSI-X.
    """
    op = uninitialized(abi.physdev_pci_device)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    address = device_address(u32(op.bus), u32(op.devfn))
    require(op.seg == 0 and device_exists(address), -abi.ENODEV)
    if cmd == abi.PHYSDEVOP_restore_msi_ext:
        return restore_messages(u32(op.bus), u32(op.devfn))
    if cmd in (abi.PHYSDEVOP_prepare_msix, abi.PHYSDEVOP_release_msix):
        require(find_capability(address, CAPABILITY_MSIX) != 0, -abi.ENODEV)
    return 0


def op_manage_pci(d: Ptr[Domain], cmd: u32, arg: Guest[abi.physdev_manage_pci]) -> i64:
    """PHYSDEVOP_manage_pci_add, manage_pci_remove, restore_msi: the older forms, with bus and devfn
    only. Errors: -ENODEV, nothing answers there.
    """
    op = uninitialized(abi.physdev_manage_pci)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    require(device_exists(device_address(u32(op.bus), u32(op.devfn))), -abi.ENODEV)
    if cmd == abi.PHYSDEVOP_restore_msi:
        return restore_messages(u32(op.bus), u32(op.devfn))
    return 0


def op_manage_pci_ext(d: Ptr[Domain], arg: Guest[abi.physdev_manage_pci_ext]) -> i64:
    """PHYSDEVOP_manage_pci_add_ext. Errors: -ENODEV, nothing answers there."""
    op = uninitialized(abi.physdev_manage_pci_ext)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    return 0 if device_exists(device_address(u32(op.bus), u32(op.devfn))) else -abi.ENODEV
