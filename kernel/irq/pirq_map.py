"""Which pirqs domain 0 has, and what device each one stands for: before `kernel.irq.irq` connects
them to event channels.
"""

import abi
from kpy import Ptr, Result, Tainted, i64, ok, ref, require, u32

from kernel.base.ids import NR_PIRQS
from kernel.irq.irq import (
    PIRQ_FREE,
    PIRQ_GSI,
    PIRQ_MSI,
    PIRQ_RESERVED,
    Pirq,
    PirqNumber,
    disconnect,
    hold_back,
    irq_lock,
    pirqs,
    vector_pirqs,
)
from kernel.x86 import ioapic
from kernel.x86.ioapic import configure_wire
from kernel.x86.msi import (
    MsiSource,
    device_address,
    find_msi,
    find_msix,
    mask_message,
    write_message,
)
from kernel.x86.percpu import cpu_by_id


def first_message_pirq() -> u32:
    """Return the lowest number that no wire can have."""
    return max(ioapic.nr_gsis, ioapic.NR_ISA_IRQS)


def find_free_pirq(first: u32, end: u32) -> PirqNumber | None:
    """Return the lowest free pirq from `first` on, None if all below `end` are taken.

    Locks: irq_lock.
    """
    for number in range(first, end):
        if pirqs[number].kind == PIRQ_FREE:
            return PirqNumber(number)
    return None


def find_free(for_message: bool) -> PirqNumber | None:
    """Return a free pirq for a message, or for a wire that needn't have its own number; None when
    there is none. Locks: irq_lock.
    """
    if for_message:
        return find_free_pirq(first_message_pirq(), u32(NR_PIRQS))
    return find_free_pirq(u32(ioapic.NR_ISA_IRQS), first_message_pirq())


def reserve_pirq(for_message: bool) -> i64:
    """Set a pirq aside for a later map. Errors: -ENOSPC, none is free."""
    with irq_lock:
        number = ok(choose_pirq(None, for_message))
        pirqs[number].kind = PIRQ_RESERVED
    return i64(u32(number))


def choose_pirq(wanted: PirqNumber | None, for_message: bool) -> Result[PirqNumber]:
    """Return the wanted pirq, or a free one if any will do.

    Errors: -EINVAL, no such pirq; -ENOSPC, none is free. Locks: irq_lock.
    """
    if wanted is not None:
        require(u32(wanted) < NR_PIRQS, -abi.EINVAL)
        return wanted
    free = find_free(for_message)
    require(free is not None, -abi.ENOSPC)
    return free


def map_gsi(gsi: Tainted[u32], wanted: PirqNumber | None) -> i64:
    """Make a pirq of a wire.

    Args: wanted (None: the one it has, else any).
    Returns: the pirq. Errors: -EINVAL, no such wire or pirq; -EEXIST, the wire has another pirq;
    -EPERM, that pirq stands for something else; -ENOSPC, none is free.
    """
    require(gsi < ioapic.nr_gsis, -abi.EINVAL)
    with irq_lock:
        present = pirq_of_wire(gsi)
        if present is not None:
            require(wanted is None or wanted == present, -abi.EEXIST)
            return i64(u32(present))
        number = ok(choose_pirq(wanted, False))
        pirq = ref(pirqs[number])
        require(pirq.kind in (PIRQ_FREE, PIRQ_RESERVED), -abi.EPERM)
        pirq.kind = PIRQ_GSI
        pirq.gsi = gsi
    return i64(u32(number))


def pirq_of_wire(gsi: u32) -> PirqNumber | None:
    """Return the pirq that stands for a wire, None when there is none. Locks: irq_lock."""
    for i in range(u32(NR_PIRQS)):
        if pirqs[i].kind == PIRQ_GSI and pirqs[i].gsi == gsi:
            return PirqNumber(i)
    return None


def setup_gsi(gsi: Tainted[u32], is_level: bool, is_low_active: bool) -> i64:
    """Note how a wire signals; the first word counts, as the wire may be shared.

    Errors: -EINVAL, no such wire; -EEXIST, domain 0 has said it before.
    """
    require(gsi < ioapic.nr_gsis, -abi.EINVAL)
    with irq_lock:
        require(not ioapic.wires[gsi].is_set_up, -abi.EEXIST)
        ioapic.wires[gsi].is_set_up = True
        if not ioapic.wires[gsi].is_configured:
            configure_wire(gsi, is_level, is_low_active)
    return 0


def map_message(
    bus: Tainted[u32],
    devfn: Tainted[u32],
    entry: Tainted[u32],
    is_msix: bool,
    wanted: PirqNumber | None,
) -> i64:
    """Make a pirq of a PCI device's message, and write the message with a vector that is held back
    until it is bound.

    Args: entry (of the MSI-X table), wanted (None: any).
    Returns: the pirq. Errors: -ENODEV, the device has no such capability or entry; -ENOSPC, no pirq
    is free; -EINVAL, no such pirq; -EEXIST, it stands for something else.
    """
    source = MsiSource()
    address = device_address(bus, devfn)
    with irq_lock:
        found = (
            find_msix(address, entry, ref(source)) if is_msix else find_msi(address, ref(source))
        )
        require(found, -abi.ENODEV)
        number = ok(choose_pirq(wanted, True))
        pirq = ref(pirqs[number])
        require(pirq.kind in (PIRQ_FREE, PIRQ_RESERVED), -abi.EEXIST)
        pirq.kind = PIRQ_MSI
        pirq.message = source
        hold_back(pirq)
    return i64(u32(number))


def unmap_pirq(number: Tainted[u32]) -> i64:
    """Free a pirq; an event channel that is bound to it hears nothing more. Errors: -EINVAL, it is
    not mapped.
    """
    require(number < NR_PIRQS, -abi.EINVAL)
    with irq_lock:
        pirq = ref(pirqs[number])
        require(pirq.kind not in (PIRQ_FREE, PIRQ_RESERVED), -abi.EINVAL)
        if pirq.is_bound:
            disconnect(pirq, number)
        free_pirq(pirq)
    return 0


def free_pirq(pirq: Ptr[Pirq]) -> None:
    """Forget what a pirq stood for, and its vector. Locks: irq_lock."""
    vector = pirq.vector
    if vector is not None:
        vector_pirqs[vector] = None
        pirq.vector = None
    pirq.kind = PIRQ_FREE


def restore_messages(bus: Tainted[u32], devfn: Tainted[u32]) -> i64:
    """Write a device's messages again, after a reset or sleep made it forget them."""
    address = device_address(bus, devfn)
    with irq_lock:
        for i in range(NR_PIRQS):
            pirq = ref(pirqs[i])
            vector = pirq.vector
            is_its = pirq.kind == PIRQ_MSI and pirq.message.address == address
            if is_its and vector is not None:
                write_message(ref(pirq.message), u32(vector), cpu_by_id(0).apic_id)
                if pirq.is_bound:
                    mask_message(ref(pirq.message), False)
    return 0
