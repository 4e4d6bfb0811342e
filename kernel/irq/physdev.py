"""physdev_op: how domain 0, which owns the devices, gets at their interrupts, which the core owns.

Every operation is read, checked and carried out by one function here; the state is in
`kernel.irq.irq` and `kernel.irq.pirq_map`.
Source: Xen public ABI, physdev.h.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Result,
    Tainted,
    i32,
    i64,
    ok,
    ref,
    require,
    static,
    truncate,
    trusted,
    u16,
    u32,
    u64,
)

import kernel.irq.msi_request  # noqa: F401  it registers operations
from kernel.base.ids import NR_PIRQS, Mfn
from kernel.base.operation import Operation, call_operation
from kernel.base.registry import hypercall
from kernel.emulate.io_permission import physdev_set_iobitmap, physdev_set_iopl
from kernel.frames.frame import page_at
from kernel.frames.page_type import PGT_writable_page, get_frame_and_type, put_frame_and_type
from kernel.irq.irq import PirqNumber, offer_eoi_map, pirq_eoi
from kernel.irq.operations import physdev_op, physdev_ops
from kernel.irq.pirq_map import (
    map_gsi,
    map_message,
    reserve_pirq,
    setup_gsi,
    unmap_pirq,
)
from kernel.state.domain import Domain, get_domain_or_self
from kernel.state.vcpu import Vcpu
from kernel.x86.ioapic import ioapic_read

MAX_MESSAGES = 32  # that a device can have by MSI

operations = static(Array[Operation | None, abi.PHYSDEVOP_release_msix + 1], physdev_ops)

physdev_op(abi.PHYSDEVOP_set_iopl)(physdev_set_iopl)
physdev_op(abi.PHYSDEVOP_set_iobitmap)(physdev_set_iobitmap)


@hypercall(abi.__HYPERVISOR_physdev_op)
def do_physdev_op(vcpu: Ptr[Vcpu], cmd: Tainted[u32], arg: Tainted[u64]) -> i64:
    """Serve one operation on physical devices.

    Hypercall: physdev_op(cmd: PHYSDEVOP_*, arg: its structure in the guest).
    Errors: -EFAULT, the structure; -EPERM, only domain 0 may; -ENOSYS, no such operation; and those
    of the operation.
    """
    return call_operation(ref(operations), vcpu, cmd, arg)


@physdev_op(abi.PHYSDEVOP_eoi)
def physdev_eoi(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_eoi]]) -> i64:
    """Hear that a device has been served. Errors: -EINVAL, the caller has no such pirq."""
    require(caller.domain.is_privileged, -abi.EINVAL)
    return pirq_eoi(op.irq)


@physdev_op(abi.PHYSDEVOP_irq_status_query, result=True)
def physdev_irq_status_query(op: Ptr[Tainted[abi.physdev_irq_status_query]]) -> Result[None]:
    """Tell a guest that it shall always say EOI: if it asks, it does not know the page of bits.

    Errors: -EINVAL, no such pirq.
    """
    require(op.irq < NR_PIRQS, -abi.EINVAL)
    op.flags = abi.XENIRQSTAT_needs_eoi


def is_own_domain(d: Ptr[Domain], domid: Tainted[u16]) -> bool:
    """Whether a domain id in an operation names the caller; passing devices on to other domains is
    not offered.
    """
    return domid == abi.DOMID_SELF or domid == u16(d.domain_id)


def domain_exists(caller: Ptr[Domain], domid: Tainted[u16]) -> bool:
    """Whether a domain id in an operation names anybody."""
    with get_domain_or_self(caller, domid) as domain:
        return domain is not None


@physdev_op(abi.PHYSDEVOP_map_pirq, result=True)
def physdev_map_pirq(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_map_pirq]]) -> Result[None]:
    """Give a wire or a message a pirq; `pirq` is negative for any.

    Errors: -ESRCH, no such domain; -EPERM, another one, or not domain 0; -EINVAL, an unknown type,
    a segment other than 0; -EDOM, no possible number of messages; -EOPNOTSUPP, several at once
    (the driver then asks for one); those of map_gsi and map_message.
    """
    d = caller.domain
    require(domain_exists(d, op.domid), -abi.ESRCH)
    require(d.is_privileged and is_own_domain(d, op.domid), -abi.EPERM)
    op.pirq = truncate(i32, ok(map_pirq(op)))


def map_pirq(op: Ptr[Tainted[abi.physdev_map_pirq]]) -> i64:
    """Map what a checked request asks for. Returns: the pirq, or an error."""
    wanted: PirqNumber | None = None
    if op.pirq >= 0:
        wanted = PirqNumber(min(truncate(u32, op.pirq), NR_PIRQS))
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


def map_device_message(op: Ptr[Tainted[abi.physdev_map_pirq]], wanted: PirqNumber | None) -> i64:
    """Map a message; a `table_base` means MSI-X. The device is found by its address, whatever the
    table's base is said to be. Messages have no number of their own: `index` is -1.
    """
    require(op.index == -1, -abi.EINVAL)
    bus = truncate(u32, op.bus)
    require(bus >> 16 == 0 and op.entry_nr >= 0, -abi.EINVAL)
    return map_message(
        bus, truncate(u32, op.devfn), truncate(u32, op.entry_nr), op.table_base != 0, wanted
    )


@physdev_op(abi.PHYSDEVOP_unmap_pirq)
def physdev_unmap_pirq(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_unmap_pirq]]) -> i64:
    """Take a pirq back. Errors: -ESRCH, -EPERM, as physdev_map_pirq; those of unmap_pirq."""
    d = caller.domain
    require(domain_exists(d, op.domid), -abi.ESRCH)
    require(d.is_privileged and is_own_domain(d, op.domid), -abi.EPERM)
    require(op.pirq >= 0, -abi.EINVAL)
    return unmap_pirq(truncate(u32, op.pirq))


@physdev_op(abi.PHYSDEVOP_setup_gsi)
def physdev_setup_gsi(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_setup_gsi]]) -> i64:
    """Hear how a wire signals, as domain 0 read in the firmware's tables (1: level, 1: active low).

    Errors: -EPERM, not domain 0; -EINVAL, a negative number; those of setup_gsi.
    """
    require(caller.domain.is_privileged, -abi.EPERM)
    require(op.gsi >= 0, -abi.EINVAL)
    return setup_gsi(truncate(u32, op.gsi), op.triggering != 0, op.polarity != 0)


@physdev_op(abi.PHYSDEVOP_get_free_pirq, result=True)
def physdev_get_free_pirq(
    caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_get_free_pirq]]
) -> Result[None]:
    """Set a pirq aside. Errors: -ENOSPC, none is free."""
    require(caller.domain.is_privileged, -abi.EPERM)
    op.pirq = truncate(u32, ok(reserve_pirq(op.type != abi.MAP_PIRQ_TYPE_GSI)))


@physdev_op(abi.PHYSDEVOP_pirq_eoi_gmfn_v2)
def physdev_pirq_eoi_gmfn(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_pirq_eoi_gmfn]]) -> i64:
    """Take a page of bits from domain 0, that say which pirqs want EOI.

    Errors: -EINVAL, the frame is not a writable one of the caller; -EBUSY, there is such a page
    already.
    """
    require(caller.domain.is_privileged, -abi.EPERM)
    mfn = Mfn(trusted(op.gmfn))  # get_frame_and_type takes any number
    require(get_frame_and_type(mfn, caller.domain, PGT_writable_page), -abi.EINVAL)
    if not offer_eoi_map(page_at(mfn)):
        put_frame_and_type(mfn)
        return -abi.EBUSY
    return 0


@physdev_op(abi.PHYSDEVOP_apic_read, result=True)
def physdev_apic_read(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_apic]]) -> Result[None]:
    """Read a register of an I/O APIC. Errors: -EINVAL, there is none at that address."""
    require(caller.domain.is_privileged, -abi.EPERM)
    op.value = ok(ioapic_read(op.apic_physbase, op.reg))


@physdev_op(abi.PHYSDEVOP_apic_write)
def physdev_apic_write(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_apic]]) -> i64:
    """Refuse: the I/O APICs are the core's. Wires are set up by PHYSDEVOP_setup_gsi and map_pirq.

    Errors: -EINVAL, there is none at that address; else -EPERM.
    """
    require(caller.domain.is_privileged, -abi.EPERM)
    ok(ioapic_read(op.apic_physbase, 0))
    return -abi.EPERM


@physdev_op(abi.PHYSDEVOP_alloc_irq_vector, result=True)
def physdev_alloc_irq_vector(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.physdev_irq]]) -> Result[None]:
    """Answer with the irq itself: vectors are the core's affair."""
    require(caller.domain.is_privileged, -abi.EPERM)
    op.vector = op.irq
