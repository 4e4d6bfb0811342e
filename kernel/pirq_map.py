"""Which pirqs domain 0 has, and what device each one stands for: before `kernel.irq` connects them
to event channels.
"""

import abi
from kpy import Ptr, i64, ref, require, u32

from kernel.ids import NR_PIRQS
from kernel.irq import (
    NO_PIRQ,
    PIRQ_FREE,
    PIRQ_GSI,
    PIRQ_MSI,
    PIRQ_RESERVED,
    Pirq,
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


def find_free_pirq(first: u32) -> u32:
    """Return the lowest free pirq from `first` on, or NR_PIRQS. Locks: irq_lock."""
    for number in range(first, u32(NR_PIRQS)):
        if pirqs[number].kind == PIRQ_FREE:
            return number
    return NR_PIRQS


def reserve_pirq(for_message: bool) -> i64:
    """Set a pirq aside for a later map. Errors: -ENOSPC, none is free."""
    with irq_lock:
        number = find_free_pirq(first_message_pirq() if for_message else 0)
        if number >= NR_PIRQS:
            return -abi.ENOSPC
        pirqs[number].kind = PIRQ_RESERVED
    return i64(number)


def map_gsi(gsi: u32, wanted: u32) -> i64:
    """Make a pirq of a wire: the one of the same number unless the caller wants another.

    Returns: the pirq. Errors: -EINVAL, no such wire; -EPERM, that pirq stands for something else;
    it is the console's wire, or has another pirq.
    """
    require(gsi < ioapic.nr_gsis and wanted < NR_PIRQS, -abi.EINVAL)
    with irq_lock:
        pirq = ref(pirqs[wanted])
        if pirq.kind == PIRQ_GSI and pirq.gsi == gsi:
            return i64(wanted)
        if pirq.kind not in (PIRQ_FREE, PIRQ_RESERVED) or is_wire_mapped(gsi):
            return -abi.EPERM
        pirq.kind = PIRQ_GSI
        pirq.gsi = gsi
    return i64(wanted)


def is_wire_mapped(gsi: u32) -> bool:
    """Whether a pirq stands for a wire already. Locks: irq_lock."""
    for i in range(NR_PIRQS):
        if pirqs[i].kind == PIRQ_GSI and pirqs[i].gsi == gsi:
            return True
    return False


def setup_gsi(gsi: u32, is_level: bool, is_low_active: bool) -> i64:
    """Note how a wire signals; the first word counts, as the wire may be shared.

    Errors: -EINVAL, no such wire.
    """
    require(gsi < ioapic.nr_gsis, -abi.EINVAL)
    with irq_lock:
        if not ioapic.wires[gsi].is_configured:
            configure_wire(gsi, is_level, is_low_active)
    return 0


def map_message(bus: u32, devfn: u32, entry: u32, is_msix: bool, wanted: u32) -> i64:
    """Make a pirq of a PCI device's message, and write the message with a vector that is held back
    until it is bound.

    Args: entry (of the MSI-X table), wanted (NR_PIRQS: any pirq).
    Returns: the pirq. Errors: -ENODEV, the device has no such capability or entry; -ENOSPC, no pirq
    is free; -EEXIST, it stands for something else.
    """
    source = MsiSource()
    address = device_address(bus, devfn)
    with irq_lock:
        found = (
            find_msix(address, entry, ref(source)) if is_msix else find_msi(address, ref(source))
        )
        if not found:
            return -abi.ENODEV
        number = wanted
        if wanted == NR_PIRQS:
            number = find_free_pirq(first_message_pirq())
            if number >= NR_PIRQS:
                return -abi.ENOSPC
        pirq = ref(pirqs[number])
        if pirq.kind not in (PIRQ_FREE, PIRQ_RESERVED):
            return -abi.EEXIST
        pirq.kind = PIRQ_MSI
        pirq.message = source
        hold_back(pirq)
    return i64(number)


def unmap_pirq(number: u32) -> i64:
    """Free a pirq. Errors: -EINVAL, it is not mapped; -EBUSY, an event channel is bound to it."""
    require(number < NR_PIRQS, -abi.EINVAL)
    with irq_lock:
        pirq = ref(pirqs[number])
        if pirq.kind == PIRQ_FREE:
            return -abi.EINVAL
        if pirq.is_bound:
            return -abi.EBUSY
        free_pirq(pirq)
    return 0


def free_pirq(pirq: Ptr[Pirq]) -> None:
    """Forget what a pirq stood for, and its vector. Locks: irq_lock."""
    if pirq.vector != 0:
        vector_pirqs[pirq.vector] = NO_PIRQ
        pirq.vector = 0
    pirq.kind = PIRQ_FREE


def restore_messages(bus: u32, devfn: u32) -> i64:
    """Write a device's messages again, after a reset or sleep made it forget them."""
    address = device_address(bus, devfn)
    with irq_lock:
        for i in range(NR_PIRQS):
            pirq = ref(pirqs[i])
            if pirq.kind == PIRQ_MSI and pirq.message.address == address and pirq.vector != 0:
                write_message(ref(pirq.message), pirq.vector, cpu_by_id(0).apic_id)
                if pirq.is_bound:
                    mask_message(ref(pirq.message), False)
    return 0
