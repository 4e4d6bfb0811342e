"""The few facts that the core needs from the firmware's ACPI tables: processors, interrupt
controllers, timers, power-off.

Only static tables are read; the interpreted ones (DSDT, SSDT) are domain 0's business. Two values
hide in the DSDT all the same, the sleep types; domain 0 passes them with XENPF_enter_acpi_sleep.
Source: ACPI 6.4, 5.2.
"""

from kpy import Array, Ptr, load, static, struct, truncate, u8, u16, u32, u64

from kernel.x86.memlayout import DIRECTMAP_VIRT_START
from kernel.x86.paging import map_device
from kernel.x86.percpu import NR_CPUS

MAX_IO_APICS = 8
MAX_OVERRIDES = 24
BIOS_AREA = 0xE0000
BIOS_AREA_END = 0x100000
EBDA_SEGMENT = 0x40E
MADT_FIRST_ENTRY = 44
ENABLED = 1
HEADER_BYTES = 36
DEFAULT_APIC_MADDR = 0xFEE00000


class MadtEntry:
    """Kinds of entries of the MADT."""

    LOCAL_APIC, IO_APIC, OVERRIDE, LOCAL_X2APIC = 0, 1, 2, 9


class Signature:
    """The first word of the tables that the core reads."""

    APIC = int.from_bytes(b"APIC", "little")
    FACP = int.from_bytes(b"FACP", "little")
    SLIT = int.from_bytes(b"SLIT", "little")
    SRAT = int.from_bytes(b"SRAT", "little")


RSDP_SIGNATURE = int.from_bytes(b"RSD PTR ", "little")


@struct(packed=True)
class Rsdp:
    signature: Array[u8, 8]
    checksum: u8
    oem_id: Array[u8, 6]
    revision: u8
    rsdt_address: u32
    length: u32
    xsdt_address: u64


@struct(packed=True)
class IoApicEntry:
    kind: u8
    length: u8
    id: u8
    reserved: u8
    maddr: u32
    first_gsi: u32


@struct(packed=True)
class OverrideEntry:
    kind: u8
    length: u8
    bus: u8
    source: u8
    gsi: u32
    flags: u16


@struct
class IoApicInfo:
    id: u32
    maddr: u64
    first_gsi: u32


@struct
class Override:
    """An ISA interrupt that is not wired to the GSI of its number, or not edge-triggered and active
    high.
    """

    isa_irq: u32
    gsi: u32
    flags: u16  # polarity in bits 0-1 (3: low), trigger in bits 2-3 (3: level)


apic_maddr = static(u64, DEFAULT_APIC_MADDR)
cpu_apic_ids = static(Array[u32, NR_CPUS])
nr_cpus_found = static(u32)
io_apics = static(Array[IoApicInfo, MAX_IO_APICS])
nr_io_apics = static(u64)
overrides = static(Array[Override, MAX_OVERRIDES])
nr_overrides = static(u64)
rsdp_maddr = static(u64)
srat = static(u64)  # address of the table, for kernel/x86/numa.py; 0: there is none
slit = static(u64)
pm_timer_port = static(u16)
pm1a_control_port = static(u16)
pm1b_control_port = static(u16)
pm1a_event_port = static(u16)
reset_port = static(u16)
reset_value = static(u8)


def read8(address: u64) -> u8:
    return load(Ptr[u8](address))


def read16(address: u64) -> u16:
    return u16(read8(address)) | u16(read8(address + 1)) << 8


def read32(address: u64) -> u32:
    return u32(read16(address)) | u32(read16(address + 2)) << 16


def read64(address: u64) -> u64:
    return u64(read32(address)) | u64(read32(address + 4)) << 32


def acpi_init() -> bool:
    """Read the tables; without any, the machine is taken to have one processor and the old
    interrupt controller.

    Returns: whether there are tables.
    """
    rsdp = find_rsdp()
    if rsdp == 0:
        return False
    header = Ptr[Rsdp](DIRECTMAP_VIRT_START + rsdp)
    if header.revision >= 2 and header.xsdt_address != 0:
        read_root_table(header.xsdt_address, 8)
    else:
        read_root_table(u64(header.rsdt_address), 4)
    return True


def find_rsdp() -> u64:
    """Return the machine address of the root pointer, which lies in the BIOS area or the extended
    BIOS data area; or 0.
    """
    global rsdp_maddr
    ebda = u64(read16(DIRECTMAP_VIRT_START + EBDA_SEGMENT)) << 4
    rsdp_maddr = 0
    if 0x80000 <= ebda < 0xA0000:
        rsdp_maddr = scan_for_rsdp(ebda, ebda + 1024)
    if rsdp_maddr == 0:
        rsdp_maddr = scan_for_rsdp(BIOS_AREA, BIOS_AREA_END)
    return rsdp_maddr


def scan_for_rsdp(start: u64, end: u64) -> u64:
    """Look for the signature and a right checksum at every 16th byte of low memory, which the
    direct map shows.
    """
    for maddr in range(start, end, 16):
        address = DIRECTMAP_VIRT_START + maddr
        if read64(address) == RSDP_SIGNATURE and checksum(address, 20) == 0:
            return maddr
    return 0


def checksum(address: u64, length: u64) -> u8:
    """Return the sum of bytes, modulo 256."""
    total: u32 = 0
    for i in range(length):
        total += u32(read8(address + i))
    return truncate(u8, total)


def map_table(maddr: u64) -> u64:
    """Map a whole table, whose length is in its header.

    Returns: its address, or 0 when it cannot be mapped or its checksum is wrong.
    """
    header = map_device(maddr, HEADER_BYTES)
    if header == 0:
        return 0
    length = u64(read32(header + 4))
    table = map_device(maddr, length)
    return table if table != 0 and checksum(table, length) == 0 else u64(0)


def read_root_table(maddr: u64, entry_bytes: u64) -> None:
    """Read the tables that the XSDT (8 bytes an entry) or RSDT (4 bytes) lists."""
    global srat, slit
    root = map_table(maddr)
    if root == 0:
        return
    for offset in range(HEADER_BYTES, u64(read32(root + 4)), entry_bytes):
        entry = read64(root + offset) if entry_bytes == 8 else u64(read32(root + offset))
        table = map_table(entry)
        if table == 0:
            continue
        match read32(table):
            case Signature.APIC:
                read_madt(table)
            case Signature.FACP:
                read_fadt(table)
            case Signature.SRAT:
                srat = table
            case Signature.SLIT:
                slit = table
            case _:
                pass


def read_madt(table: u64) -> None:
    """Read processors and interrupt controllers."""
    global apic_maddr
    apic_maddr = u64(read32(table + HEADER_BYTES))
    end = table + u64(read32(table + 4))
    entry = table + MADT_FIRST_ENTRY
    while entry + 2 <= end and read8(entry + 1) != 0:
        read_madt_entry(entry)
        entry += u64(read8(entry + 1))


def read_madt_entry(entry: u64) -> None:
    """Read one entry of the MADT."""
    match read8(entry):
        case MadtEntry.LOCAL_APIC:
            if read32(entry + 4) & ENABLED != 0:
                add_cpu(u32(read8(entry + 3)))
        case MadtEntry.LOCAL_X2APIC:
            if read32(entry + 8) & ENABLED != 0:
                add_cpu(read32(entry + 4))
        case MadtEntry.IO_APIC:
            add_io_apic(Ptr[IoApicEntry](entry))
        case MadtEntry.OVERRIDE:
            add_override(Ptr[OverrideEntry](entry))
        case _:
            pass


def add_cpu(apic_id: u32) -> None:
    """Count a processor; those beyond NR_CPUS stay unused."""
    global nr_cpus_found
    if nr_cpus_found < NR_CPUS:
        cpu_apic_ids[nr_cpus_found] = apic_id
        nr_cpus_found += 1


def add_io_apic(entry: Ptr[IoApicEntry]) -> None:
    """Remember an I/O APIC."""
    global nr_io_apics
    if nr_io_apics < MAX_IO_APICS:
        io_apics[nr_io_apics] = IoApicInfo(
            id=u32(entry.id), maddr=u64(entry.maddr), first_gsi=entry.first_gsi
        )
        nr_io_apics += 1


def add_override(entry: Ptr[OverrideEntry]) -> None:
    """Remember how an ISA interrupt is wired."""
    global nr_overrides
    if nr_overrides < MAX_OVERRIDES:
        overrides[nr_overrides] = Override(
            isa_irq=u32(entry.source), gsi=entry.gsi, flags=entry.flags
        )
        nr_overrides += 1


def read_fadt(table: u64) -> None:
    """Read the fixed hardware's ports. Offsets: ACPI 6.4, table 5.9."""
    global \
        pm_timer_port, \
        pm1a_control_port, \
        pm1b_control_port, \
        pm1a_event_port, \
        reset_port, \
        reset_value
    pm1a_event_port = truncate(u16, read32(table + 56))
    pm1a_control_port = truncate(u16, read32(table + 64))
    pm1b_control_port = truncate(u16, read32(table + 68))
    pm_timer_port = truncate(u16, read32(table + 76))
    has_reset = read32(table + 112) & 1 << 10 != 0
    if has_reset and read32(table + 4) >= 129 and read8(table + 116) == 1:
        reset_port = truncate(u16, read64(table + 120))
        reset_value = read8(table + 128)
