"""Message-signalled interrupts: finding a device's capability, and writing the message that makes
it raise a vector.

Domain 0 owns the devices, but a message may name any vector of any processor, so only the core
writes messages. Domain 0's driver sets the enable bits of the capability itself. Source: PCI Local
Bus Specification 3.0, 6.8.
"""

from kpy import Ptr, Tainted, struct, u32, u64, volatile_load, volatile_store

from kernel.base.ids import Maddr, maddr_to_mfn
from kernel.state.frame_table import frame_valid
from kernel.x86.features import max_physical_bits
from kernel.x86.paging import map_device
from kernel.x86.pci import pci_config_read, pci_config_write

PCI_STATUS_CAPABILITIES = 1 << 4
PCI_VENDOR = 0x00
PCI_COMMAND_STATUS = 0x04
PCI_BAR0 = 0x10
PCI_CAPABILITIES = 0x34
CAPABILITY_MSI = 0x05
CAPABILITY_MSIX = 0x11
MSI_64BIT = 1 << 7
MSI_MASKABLE = 1 << 8
MSIX_TABLE_SIZE = 0x7FF
BAR_64BIT = 0x4
BAR_IO = 0x1
ENTRY_BYTES = 16
ENTRY_MASKED = 1
MESSAGE_ADDRESS = 0xFEE00000
MAX_CAPABILITIES = 48


@struct
class MsiSource:
    """A message of a device: where it is written, so that it can be masked and written again."""

    address: u32  # of the device in configuration space: bit 31, bus << 16, devfn << 8
    capability: u32  # offset of the capability
    is_msix: bool
    entry: u64  # address of the MSI-X table entry


def device_address(bus: Tainted[u32], devfn: Tainted[u32]) -> u32:
    """Return a device's configuration address, register 0."""
    return 1 << 31 | (bus & 0xFF) << 16 | (devfn & 0xFF) << 8


def read_config(address: u32, register: u32) -> u32:
    """Read a word of a device's configuration space."""
    return pci_config_read(address | register & 0xFC, 0, 4)


def write_config(address: u32, register: u32, value: u32) -> None:
    """Write a word of a device's configuration space."""
    pci_config_write(address | register & 0xFC, 0, 4, value)


def device_exists(address: u32) -> bool:
    """Whether a device answers."""
    return read_config(address, PCI_VENDOR) & 0xFFFF != 0xFFFF


def find_capability(address: u32, kind: u32) -> u32:
    """Return the offset of a capability, or 0."""
    if read_config(address, PCI_COMMAND_STATUS) >> 16 & PCI_STATUS_CAPABILITIES == 0:
        return 0
    offset = read_config(address, PCI_CAPABILITIES) & 0xFC
    for _ in range(MAX_CAPABILITIES):
        if offset < 0x40:
            return 0
        header = read_config(address, offset)
        if header & 0xFF == kind:
            return offset
        offset = header >> 8 & 0xFC
    return 0


def find_msi(address: u32, source: Ptr[MsiSource]) -> bool:
    """Fill in the MSI capability of a device; false when it has none."""
    source.address = address
    source.is_msix = False
    source.capability = find_capability(address, CAPABILITY_MSI)
    return source.capability != 0


def find_msix(address: u32, index: Tainted[u32], source: Ptr[MsiSource]) -> bool:
    """Fill in entry `index` of a device's MSI-X table and map it; false when there is no such
    entry.

    Domain 0 can write anything into a BAR, so what it names must not be RAM.
    """
    source.address = address
    source.is_msix = True
    source.capability = find_capability(address, CAPABILITY_MSIX)
    if source.capability == 0:
        return False
    if index > read_config(address, source.capability) >> 16 & MSIX_TABLE_SIZE:
        return False
    table = read_config(address, source.capability + 4)
    base = read_bar(address, table & 7)
    if base == 0 or base >> max_physical_bits != 0:
        return False
    maddr = base + u64(table & ~7) + u64(index) * ENTRY_BYTES
    if frame_valid(maddr_to_mfn(Maddr(maddr))):
        return False
    source.entry = map_device(maddr, ENTRY_BYTES)
    return source.entry != 0


def read_bar(address: u32, index: u32) -> u64:
    """Return the machine address that a memory BAR holds, or 0."""
    if index > 5:
        return 0
    low = read_config(address, PCI_BAR0 + index * 4)
    if low & BAR_IO != 0:
        return 0
    base = u64(low & ~0xF)
    if low & BAR_64BIT != 0 and index < 5:
        base |= u64(read_config(address, PCI_BAR0 + index * 4 + 4)) << 32
    return base


def write_message(source: Ptr[MsiSource], vector: u32, apic_id: u32) -> None:
    """Make the device raise `vector`, edge-triggered, on a processor. An MSI-X entry is left
    masked.
    """
    destination = MESSAGE_ADDRESS | (apic_id & 0xFF) << 12
    if source.is_msix:
        volatile_store(Ptr[u32](source.entry + 12), ENTRY_MASKED)
        volatile_store(Ptr[u32](source.entry), destination)
        volatile_store(Ptr[u32](source.entry + 4), 0)
        volatile_store(Ptr[u32](source.entry + 8), vector)
        return
    control = read_config(source.address, source.capability) >> 16
    write_config(source.address, source.capability + 4, destination)
    data_register = source.capability + 8
    if control & MSI_64BIT != 0:
        write_config(source.address, source.capability + 8, 0)
        data_register += 4
    rest = read_config(source.address, data_register) & 0xFFFF0000
    write_config(source.address, data_register, rest | vector)


def mask_message(source: Ptr[MsiSource], masked: bool) -> None:
    """Hold a device's message back or let it go, if the device can do that."""
    bit_value: u32 = ENTRY_MASKED if masked else 0
    if source.is_msix:
        control = volatile_load(Ptr[u32](source.entry + 12))
        volatile_store(Ptr[u32](source.entry + 12), control & ~ENTRY_MASKED | bit_value)
        return
    control = read_config(source.address, source.capability) >> 16
    if control & MSI_MASKABLE != 0:
        register = source.capability + (0x10 if control & MSI_64BIT != 0 else 0x0C)
        write_config(
            source.address, register, read_config(source.address, register) & ~1 | bit_value
        )
