"""The I/O APICs: where the wires of devices become vectors.

Wires are named by global system interrupt (GSI); each I/O APIC serves a range of them. Source:
Intel 82093AA data sheet.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Result,
    Tainted,
    ref,
    require,
    static,
    struct,
    u8,
    u16,
    u32,
    u64,
    volatile_load,
    volatile_store,
)

from kernel.base.spinlock import SpinLock
from kernel.x86 import acpi
from kernel.x86.cpu import out8
from kernel.x86.paging import map_device

REGISTER_SELECT = 0x00
REGISTER_WINDOW = 0x10
IOAPIC_VERSION = 1
FIRST_ENTRY = 0x10
ENTRY_LOW_ACTIVE = 1 << 13
ENTRY_LEVEL = 1 << 15
ENTRY_MASKED = 1 << 16
NR_ISA_IRQS = 16
MAX_GSIS = 256
POLARITY_LOW = 3
TRIGGER_LEVEL = 3 << 2
PIC_MASTER, PIC_SLAVE = 0x20, 0xA0
PIC_FIRST_VECTOR = 0x20
PIC_CASCADE = 2


@struct
class IoApic:
    registers: u64  # where they are mapped
    first_gsi: u32
    nr_pins: u32


@struct
class Wire:
    """How a GSI is wired, and the entry that its I/O APIC holds for it."""

    is_level: bool
    is_low_active: bool
    is_configured: bool  # by the firmware or domain 0
    is_set_up: bool  # domain 0 has told how it signals
    low: u32


ioapics = static(Array[IoApic, acpi.MAX_IO_APICS])
nr_ioapics = static(u64)
nr_gsis = static(u32)
wires = static(Array[Wire, MAX_GSIS])
ioapic_lock = static(SpinLock)


def ioapic_init() -> None:
    """Map the I/O APICs, mask every wire, and take the firmware's word for the ISA ones. The old
    controller is silenced.
    """
    if acpi.has_pic:
        silence_pic()
    for i in range(acpi.nr_io_apics):
        add_ioapic(acpi.io_apics[i].maddr, acpi.io_apics[i].first_gsi)
    for irq in range(NR_ISA_IRQS):
        wires[irq].is_configured = True
    for i in range(acpi.nr_overrides):
        override = ref(acpi.overrides[i])
        if override.gsi < MAX_GSIS:
            wires[override.gsi].is_level = override.flags & TRIGGER_LEVEL == TRIGGER_LEVEL
            wires[override.gsi].is_low_active = override.flags & POLARITY_LOW == POLARITY_LOW
            wires[override.gsi].is_configured = True


def silence_pic() -> None:
    """Mask the two 8259s, with their vectors out of the way of exceptions in case of a spurious
    one.
    """
    init_pic(PIC_MASTER, PIC_FIRST_VECTOR, 1 << PIC_CASCADE)
    init_pic(PIC_SLAVE, PIC_FIRST_VECTOR + 8, PIC_CASCADE)


def init_pic(port: u16, vector: u8, cascade: u8) -> None:
    """Initialise an 8259 and mask all its inputs. Source: Intel 8259A data sheet, ICW1-4."""
    out8(port, 0x11)
    out8(port + 1, vector)
    out8(port + 1, cascade)
    out8(port + 1, 0x01)
    out8(port + 1, 0xFF)


def add_ioapic(maddr: u64, first_gsi: u32) -> None:
    """Map an I/O APIC and mask its wires."""
    global nr_ioapics, nr_gsis
    registers = map_device(maddr, 32)
    if registers == 0:
        return
    io_apic = ref(ioapics[nr_ioapics])
    io_apic.registers = registers
    io_apic.first_gsi = first_gsi
    io_apic.nr_pins = (read_register(io_apic, IOAPIC_VERSION) >> 16 & 0xFF) + 1
    nr_ioapics += 1
    end = first_gsi + io_apic.nr_pins
    assert end <= MAX_GSIS, "too many interrupt wires"
    nr_gsis = max(nr_gsis, end)
    for gsi in range(first_gsi, end):
        write_entry(io_apic, gsi, ENTRY_MASKED, 0)


def read_register(io_apic: Ptr[IoApic], register: u32) -> u32:
    """Read a register. Locks: ioapic_lock, once several processors run."""
    volatile_store(Ptr[u32](io_apic.registers + REGISTER_SELECT), register)
    return volatile_load(Ptr[u32](io_apic.registers + REGISTER_WINDOW))


def write_register(io_apic: Ptr[IoApic], register: u32, value: u32) -> None:
    """Write a register. Locks: ioapic_lock."""
    volatile_store(Ptr[u32](io_apic.registers + REGISTER_SELECT), register)
    volatile_store(Ptr[u32](io_apic.registers + REGISTER_WINDOW), value)


def write_entry(io_apic: Ptr[IoApic], gsi: u32, low: u32, high: u32) -> None:
    """Write a wire's entry, masked in between. Locks: ioapic_lock."""
    register = FIRST_ENTRY + (gsi - io_apic.first_gsi) * 2
    write_register(io_apic, register, ENTRY_MASKED)
    write_register(io_apic, register + 1, high)
    write_register(io_apic, register, low)
    wires[gsi].low = low


def find_ioapic(gsi: u32) -> Ptr[IoApic] | None:
    """Return the I/O APIC that serves a wire."""
    for i in range(nr_ioapics):
        io_apic = ref(ioapics[i])
        if io_apic.first_gsi <= gsi < io_apic.first_gsi + io_apic.nr_pins:
            return io_apic
    return None


def ioapic_by_maddr(maddr: Tainted[u64]) -> Ptr[IoApic] | None:
    """Return the I/O APIC whose registers lie at a machine address."""
    for i in range(nr_ioapics):
        if acpi.io_apics[i].maddr == maddr:
            return ref(ioapics[i])
    return None


def ioapic_read(maddr: Tainted[u64], register: Tainted[u32]) -> Result[u32]:
    """Read a register for domain 0. Errors: -EINVAL, there is no I/O APIC at that address."""
    io_apic = ioapic_by_maddr(maddr)
    require(io_apic is not None, -abi.EINVAL)
    with ioapic_lock:
        return read_register(io_apic, register & 0xFF)


def gsi_for_isa_irq(irq: u32) -> u32:
    """Return the wire of an ISA interrupt."""
    for i in range(acpi.nr_overrides):
        if acpi.overrides[i].isa_irq == irq:
            return acpi.overrides[i].gsi
    return irq


def configure_wire(gsi: u32, is_level: bool, is_low_active: bool) -> None:
    """Note how a wire signals. Takes effect when it is connected."""
    wires[gsi].is_level = is_level
    wires[gsi].is_low_active = is_low_active
    wires[gsi].is_configured = True


def connect_wire(gsi: u32, vector: u32, apic_id: u32, masked: bool) -> None:
    """Let a wire raise a vector on a processor."""
    io_apic = find_ioapic(gsi)
    if io_apic is None:
        return
    low = vector | (ENTRY_MASKED if masked else u32(0))
    if wires[gsi].is_level:
        low |= ENTRY_LEVEL
    if wires[gsi].is_low_active:
        low |= ENTRY_LOW_ACTIVE
    with ioapic_lock:
        write_entry(io_apic, gsi, low, apic_id << 24)


def mask_wire(gsi: u32, masked: bool) -> None:
    """Hold a wire's interrupts back, or let them through again."""
    io_apic = find_ioapic(gsi)
    if io_apic is None:
        return
    low = wires[gsi].low & ~ENTRY_MASKED | (ENTRY_MASKED if masked else u32(0))
    with ioapic_lock:
        wires[gsi].low = low
        write_register(io_apic, FIRST_ENTRY + (gsi - io_apic.first_gsi) * 2, low)
