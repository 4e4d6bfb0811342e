"""physdev_op: how domain 0, which owns the devices, gets at their interrupts, which the core owns.

Every operation is read, checked and carried out by one function here; the state is in
`kernel.irq.irq` and `kernel.irq.pirq_map`.
Source: Xen public ABI, physdev.h.
"""

import abi
from kpy import Guest, Ptr, i32, i64, ref, require, truncate, u16, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import NR_PIRQS, Mfn
from kernel.base.registry import hypercall
from kernel.emulate.io_permission import physdev_set_iobitmap, physdev_set_iopl
from kernel.frames.frame import page_at
from kernel.frames.page_type import PGT_writable_page, get_frame_and_type, put_frame_and_type
from kernel.irq import irq
from kernel.irq.irq import irq_lock, pirq_eoi, pirqs, set_eoi_bit
from kernel.irq.msi_request import pci_op
from kernel.irq.pirq_map import (
    ANY_PIRQ,
    map_gsi,
    map_message,
    reserve_pirq,
    setup_gsi,
    unmap_pirq,
)
from kernel.state.domain import Domain, get_domain_or_self, put_domain
from kernel.state.vcpu import Vcpu
from kernel.x86 import ioapic
from kernel.x86.ioapic import ioapic_read

MAX_MESSAGES = 32  # that a device can have by MSI


@hypercall(abi.__HYPERVISOR_physdev_op)
def do_physdev_op(vcpu: Ptr[Vcpu], cmd: u64, arg: u64, c: u64, d: u64, e: u64) -> i64:
    """Serve one operation on physical devices.

    Hypercall: physdev_op(cmd: PHYSDEVOP_*, arg: its structure in the guest).
    Errors: -EFAULT, the structure; -EPERM, only domain 0 may; -ENOSYS, no such operation; and those
    of the operation.
    """
    match truncate(u32, cmd):
        case abi.PHYSDEVOP_eoi:
            return op_eoi(vcpu.domain, Guest[abi.physdev_eoi](arg))
        case abi.PHYSDEVOP_irq_status_query:
            return op_irq_status_query(Guest[abi.physdev_irq_status_query](arg))
        case abi.PHYSDEVOP_set_iopl:
            return physdev_set_iopl(vcpu, arg)
        case abi.PHYSDEVOP_set_iobitmap:
            return physdev_set_iobitmap(vcpu, arg)
        case _:
            return privileged_op(vcpu.domain, truncate(u32, cmd), arg)


def privileged_op(d: Ptr[Domain], cmd: u32, arg: u64) -> i64:
    """Serve an operation on interrupts that only domain 0 may do."""
    match cmd:
        case abi.PHYSDEVOP_map_pirq:
            return op_map_pirq(d, Guest[abi.physdev_map_pirq](arg))
        case abi.PHYSDEVOP_unmap_pirq:
            return op_unmap_pirq(d, Guest[abi.physdev_unmap_pirq](arg))
        case abi.PHYSDEVOP_setup_gsi:
            return op_setup_gsi(d, Guest[abi.physdev_setup_gsi](arg))
        case abi.PHYSDEVOP_get_free_pirq:
            return op_get_free_pirq(d, Guest[abi.physdev_get_free_pirq](arg))
        case abi.PHYSDEVOP_pirq_eoi_gmfn_v2:
            return op_pirq_eoi_gmfn(d, Guest[abi.physdev_pirq_eoi_gmfn](arg))
        case abi.PHYSDEVOP_apic_read:
            return op_apic_read(d, Guest[abi.physdev_apic](arg))
        case abi.PHYSDEVOP_apic_write:
            return op_apic_write(d, Guest[abi.physdev_apic](arg))
        case abi.PHYSDEVOP_alloc_irq_vector:
            return op_alloc_irq_vector(d, Guest[abi.physdev_irq](arg))
        case _:
            return pci_op(d, cmd, arg)


def op_eoi(d: Ptr[Domain], arg: Guest[abi.physdev_eoi]) -> i64:
    """PHYSDEVOP_eoi: a device has been served. Errors: -EINVAL, the caller has no such pirq."""
    op = uninitialized(abi.physdev_eoi)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(op.irq < NR_PIRQS, -abi.EINVAL)
    require(d.is_privileged, -abi.EINVAL)
    return pirq_eoi(op.irq)


def op_irq_status_query(arg: Guest[abi.physdev_irq_status_query]) -> i64:
    """PHYSDEVOP_irq_status_query. A guest that asks does not know the page of EOI bits, so it shall
    always say EOI.

    Errors: -EINVAL, no such pirq.
    """
    op = uninitialized(abi.physdev_irq_status_query)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(op.irq < NR_PIRQS, -abi.EINVAL)
    op.flags = abi.XENIRQSTAT_needs_eoi
    require(copy_to_guest(arg, ref(op)), -abi.EFAULT)
    return 0


def is_own_domain(d: Ptr[Domain], domid: u16) -> bool:
    """Whether a domain id in an operation names the caller; passing devices on to other domains is
    not offered.
    """
    return domid == abi.DOMID_SELF or domid == u16(d.domain_id)


def domain_exists(caller: Ptr[Domain], domid: u16) -> bool:
    """Whether a domain id in an operation names anybody."""
    domain = get_domain_or_self(caller, domid)
    if domain is None:
        return False
    put_domain(domain)
    return True


def op_map_pirq(d: Ptr[Domain], arg: Guest[abi.physdev_map_pirq]) -> i64:
    """PHYSDEVOP_map_pirq: give a wire or a message a pirq; `pirq` is negative for any.

    Errors: -ESRCH, no such domain; -EPERM, another one, or not domain 0; -EINVAL, an unknown type,
    a segment other than 0; -EDOM, no possible number of messages; -EOPNOTSUPP, several at once
    (the driver then asks for one); those of map_gsi and map_message.
    """
    op = uninitialized(abi.physdev_map_pirq)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(domain_exists(d, op.domid), -abi.ESRCH)
    require(d.is_privileged and is_own_domain(d, op.domid), -abi.EPERM)
    result = map_pirq(ref(op))
    if result < 0:
        return result
    op.pirq = truncate(i32, result)
    require(copy_to_guest(arg, ref(op)), -abi.EFAULT)
    return 0


def map_pirq(op: Ptr[abi.physdev_map_pirq]) -> i64:
    """Map what a checked request asks for. Returns: the pirq, or an error."""
    wanted = ANY_PIRQ if op.pirq < 0 else truncate(u32, op.pirq)
    match op.type:
        case abi.MAP_PIRQ_TYPE_GSI:
            require(op.index >= 0, -abi.EINVAL)
            return map_gsi(truncate(u32, op.index), wanted)
        case abi.MAP_PIRQ_TYPE_MSI | abi.MAP_PIRQ_TYPE_MSI_SEG:
            return map_device_message(op, wanted)
        case abi.MAP_PIRQ_TYPE_MULTI_MSI:
            require(1 <= op.entry_nr <= MAX_MESSAGES, -abi.EDOM)
            require(op.entry_nr == 1, -abi.EOPNOTSUPP)
            return map_device_message(op, wanted)
        case _:
            return -abi.EINVAL


def map_device_message(op: Ptr[abi.physdev_map_pirq], wanted: u32) -> i64:
    """Map a message; a `table_base` means MSI-X. The device is found by its address, whatever the
    table's base is said to be. Messages have no number of their own: `index` is -1.
    """
    require(op.index == -1, -abi.EINVAL)
    bus = truncate(u32, op.bus)
    require(bus >> 16 == 0 and op.entry_nr >= 0, -abi.EINVAL)
    return map_message(
        bus, truncate(u32, op.devfn), truncate(u32, op.entry_nr), op.table_base != 0, wanted
    )


def op_unmap_pirq(d: Ptr[Domain], arg: Guest[abi.physdev_unmap_pirq]) -> i64:
    """PHYSDEVOP_unmap_pirq. Errors: -ESRCH, -EPERM, as op_map_pirq; those of unmap_pirq."""
    op = uninitialized(abi.physdev_unmap_pirq)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(domain_exists(d, op.domid), -abi.ESRCH)
    require(d.is_privileged and is_own_domain(d, op.domid), -abi.EPERM)
    require(op.pirq >= 0, -abi.EINVAL)
    return unmap_pirq(truncate(u32, op.pirq))


def op_setup_gsi(d: Ptr[Domain], arg: Guest[abi.physdev_setup_gsi]) -> i64:
    """PHYSDEVOP_setup_gsi: how a wire signals, as domain 0 read in the firmware's tables (1: level,
    1: active low).
    """
    op = uninitialized(abi.physdev_setup_gsi)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    require(op.gsi >= 0, -abi.EINVAL)
    return setup_gsi(truncate(u32, op.gsi), op.triggering != 0, op.polarity != 0)


def op_get_free_pirq(d: Ptr[Domain], arg: Guest[abi.physdev_get_free_pirq]) -> i64:
    """PHYSDEVOP_get_free_pirq: set a pirq aside. Errors: -ENOSPC, none is free."""
    op = uninitialized(abi.physdev_get_free_pirq)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    result = reserve_pirq(op.type != abi.MAP_PIRQ_TYPE_GSI)
    if result < 0:
        return result
    op.pirq = truncate(u32, result)
    require(copy_to_guest(arg, ref(op)), -abi.EFAULT)
    return 0


def op_pirq_eoi_gmfn(d: Ptr[Domain], arg: Guest[abi.physdev_pirq_eoi_gmfn]) -> i64:
    """PHYSDEVOP_pirq_eoi_gmfn_v2: domain 0 offers a page of bits that say which pirqs want EOI.

    Errors: -EINVAL, the frame is not a writable one of the caller; -EBUSY, there is such a page
    already.
    """
    op = uninitialized(abi.physdev_pirq_eoi_gmfn)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    mfn = Mfn(op.gmfn)
    require(get_frame_and_type(mfn, d, PGT_writable_page), -abi.EINVAL)
    with irq_lock:
        if irq.eoi_map == 0:
            irq.eoi_map = u64(page_at(mfn))
            for i in range(u32(NR_PIRQS)):
                pirq = ref(pirqs[i])
                wants = (
                    pirq.is_bound and pirq.kind == irq.PIRQ_GSI and ioapic.wires[pirq.gsi].is_level
                )
                set_eoi_bit(i, wants)
            return 0
    put_frame_and_type(mfn)
    return -abi.EBUSY


def op_apic_read(d: Ptr[Domain], arg: Guest[abi.physdev_apic]) -> i64:
    """PHYSDEVOP_apic_read: read a register of an I/O APIC. Errors: -EINVAL, there is none at that
    address.
    """
    op = uninitialized(abi.physdev_apic)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    found, op.value = ioapic_read(op.apic_physbase, op.reg)
    require(found, -abi.EINVAL)
    require(copy_to_guest(arg, ref(op)), -abi.EFAULT)
    return 0


def op_apic_write(d: Ptr[Domain], arg: Guest[abi.physdev_apic]) -> i64:
    """PHYSDEVOP_apic_write: refused. The I/O APICs are the core's; wires are set up by
    PHYSDEVOP_setup_gsi and map_pirq. Errors: -EINVAL, there is none at that address; else -EPERM.
    """
    op = uninitialized(abi.physdev_apic)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    found, _ = ioapic_read(op.apic_physbase, 0)
    return -abi.EPERM if found else -abi.EINVAL


def op_alloc_irq_vector(d: Ptr[Domain], arg: Guest[abi.physdev_irq]) -> i64:
    """PHYSDEVOP_alloc_irq_vector: a formality; vectors are the core's affair, so the answer is the
    irq itself.
    """
    op = uninitialized(abi.physdev_irq)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(d.is_privileged, -abi.EPERM)
    op.vector = op.irq
    require(copy_to_guest(arg, ref(op)), -abi.EFAULT)
    return 0
