"""The few facts that the core needs from the firmware's ACPI tables: processors and interrupt
controllers here, timers and power control in `kernel.x86.fixed_hardware`.

The root pointer is the boot loader's copy, else what UEFI lists, else found in the BIOS's memory.

Only static tables are read; the interpreted ones (DSDT, SSDT) are domain 0's business. Two values
hide in the DSDT all the same, the sleep types; domain 0 passes them with XENPF_enter_acpi_sleep.
Source: ACPI 6.4, 5.2.
"""

from kpy import Array, Ptr, ref, sizeof, static, struct, u8, u16, u32, u64

from kernel.x86 import boot_info
from kernel.x86.boot_info import RSDP_BYTES
from kernel.x86.efi import efi_rsdp
from kernel.x86.fixed_hardware import read_fadt, read_hpet
from kernel.x86.memlayout import DIRECTMAP_VIRT_START
from kernel.x86.paging import map_device
from kernel.x86.percpu import NR_CPUS
from kernel.x86.table_read import checksum, for_each_entry, read8, read16, read32, read64

MAX_IO_APICS = 8
MAX_OVERRIDES = 24
BIOS_AREA = 0xE0000
BIOS_AREA_END = 0x100000
EBDA_SEGMENT = 0x40E
MADT_FIRST_ENTRY = 44
LOCAL_APIC_BYTES, APIC_ADDRESS_BYTES, LOCAL_X2APIC_BYTES = 8, 12, 16
ENABLED = 1
PCAT_COMPAT = 1
HEADER_BYTES = 36
MAX_TABLE_BYTES = 1 << 20
OLD_RSDP_BYTES = 20
DEFAULT_APIC_MADDR = 0xFEE00000


class MadtEntry:
    """Kinds of entries of the MADT."""

    LOCAL_APIC, IO_APIC, OVERRIDE, APIC_ADDRESS, LOCAL_X2APIC = 0, 1, 2, 5, 9


class Signature:
    """The first word of the tables that the core reads."""

    APIC = int.from_bytes(b"APIC", "little")
    FACP = int.from_bytes(b"FACP", "little")
    HPET = int.from_bytes(b"HPET", "little")
    SLIT = int.from_bytes(b"SLIT", "little")
    SRAT = int.from_bytes(b"SRAT", "little")


RSDP_SIGNATURE = int.from_bytes(b"RSD PTR ", "little")


class Rsdp:
    """Offsets in the root pointer."""

    REVISION, RSDT, LENGTH, XSDT = 15, 16, 20, 24


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
has_pic = static(bool, True)  # the old interrupt controller is there, too
srat = static(u64)  # address of the table, for kernel/x86/numa.py; 0: there is none
slit = static(u64)


def acpi_init() -> bool:
    """Read the tables; without any, the machine is taken to have one processor and the old
    interrupt controller.

    Returns: whether there are tables.
    """
    rsdp = find_rsdp()
    if rsdp == 0:
        return False
    if read8(rsdp + Rsdp.REVISION) >= 2 and read64(rsdp + Rsdp.XSDT) != 0:
        read_root_table(read64(rsdp + Rsdp.XSDT), 8)
    else:
        read_root_table(u64(read32(rsdp + Rsdp.RSDT)), 4)
    return True


def find_rsdp() -> u64:
    """Return where the root pointer is readable, the newest one that is whole; or 0."""
    copied = u64(ref(boot_info.rsdp))
    if boot_info.rsdp_length != 0 and is_rsdp(copied, boot_info.rsdp_length):
        return copied
    if boot_info.efi_system_table != 0:
        listed = efi_rsdp()
        shown = map_device(listed, RSDP_BYTES) if listed != 0 else u64(0)
        return shown if shown != 0 and is_rsdp(shown, RSDP_BYTES) else u64(0)
    return find_bios_rsdp()


def is_rsdp(address: u64, size: u64) -> bool:
    """Whether a root pointer lies at an address, with `size` bytes to look at."""
    if size < OLD_RSDP_BYTES or read64(address) != RSDP_SIGNATURE:
        return False
    if checksum(address, OLD_RSDP_BYTES) != 0:
        return False
    return read8(address + Rsdp.REVISION) < 2 or size >= RSDP_BYTES


def find_bios_rsdp() -> u64:
    """Return where the root pointer is readable, which a BIOS keeps in its own area or the extended
    BIOS data area; or 0.
    """
    ebda = u64(read16(DIRECTMAP_VIRT_START + EBDA_SEGMENT)) << 4
    found: u64 = 0
    if 0x80000 <= ebda < 0xA0000:
        found = scan_for_rsdp(ebda, ebda + 1024)
    if found == 0:
        found = scan_for_rsdp(BIOS_AREA, BIOS_AREA_END)
    return found


def scan_for_rsdp(start: u64, end: u64) -> u64:
    """Look at every 16th byte of low memory, which the direct map shows."""
    for maddr in range(start, end, 16):
        address = DIRECTMAP_VIRT_START + maddr
        if is_rsdp(address, min(RSDP_BYTES, end - maddr)):
            return address
    return 0


def map_table(maddr: u64) -> u64:
    """Map a whole table, whose length is in its header.

    Returns: its address, or 0 when it cannot be mapped or its checksum is wrong.
    """
    header = map_device(maddr, HEADER_BYTES)
    if header == 0:
        return 0
    length = u64(read32(header + 4))
    if length < HEADER_BYTES or length > MAX_TABLE_BYTES:
        return 0
    table = map_device(maddr, length)
    return table if table != 0 and checksum(table, length) == 0 else u64(0)


def read_root_table(maddr: u64, entry_bytes: u64) -> None:
    """Read the tables that the XSDT (8 bytes an entry) or RSDT (4 bytes) lists."""
    root = map_table(maddr)
    if root == 0:
        return
    end = u64(read32(root + 4))
    offset: u64 = HEADER_BYTES
    while offset + entry_bytes <= end:
        read_table(read64(root + offset) if entry_bytes == 8 else u64(read32(root + offset)))
        offset += entry_bytes


def read_table(maddr: u64) -> None:
    """Read a table if it is one that the core needs; only those are mapped whole."""
    global srat, slit
    header = map_device(maddr, HEADER_BYTES)
    kind = read32(header) if header != 0 else u32(0)
    if kind not in (
        Signature.APIC,
        Signature.FACP,
        Signature.HPET,
        Signature.SLIT,
        Signature.SRAT,
    ):
        return
    table = map_table(maddr)
    if table == 0:
        return
    match kind:
        case Signature.APIC:
            read_madt(table)
        case Signature.FACP:
            read_fadt(table)
        case Signature.SRAT:
            srat = table
        case Signature.SLIT:
            slit = table
        case _:
            read_hpet(table)


def read_madt(table: u64) -> None:
    """Read processors and interrupt controllers."""
    global apic_maddr, has_pic
    if u64(read32(table + 4)) < MADT_FIRST_ENTRY:
        return
    apic_maddr = u64(read32(table + HEADER_BYTES))
    has_pic = read32(table + HEADER_BYTES + 4) & PCAT_COMPAT != 0
    for_each_entry(table, MADT_FIRST_ENTRY, read_madt_entry)


def read_madt_entry(entry: u64, length: u64) -> None:
    """Read one entry of the MADT; one that is too short for its kind is left out."""
    global apic_maddr
    kind = read8(entry)
    if kind == MadtEntry.LOCAL_APIC and length >= LOCAL_APIC_BYTES:
        if read32(entry + 4) & ENABLED != 0:
            add_cpu(u32(read8(entry + 3)))
    elif kind == MadtEntry.LOCAL_X2APIC and length >= LOCAL_X2APIC_BYTES:
        if read32(entry + 8) & ENABLED != 0:
            add_cpu(read32(entry + 4))
    elif kind == MadtEntry.APIC_ADDRESS and length >= APIC_ADDRESS_BYTES:
        apic_maddr = read64(entry + 4)
    elif kind == MadtEntry.IO_APIC and length >= sizeof(IoApicEntry):
        add_io_apic(Ptr[IoApicEntry](entry))
    elif kind == MadtEntry.OVERRIDE and length >= sizeof(OverrideEntry):
        add_override(Ptr[OverrideEntry](entry))


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
