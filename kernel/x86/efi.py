"""UEFI's system table, read once: what domain 0 is told of its firmware, and where ACPI's root
pointer is.

The core calls none of UEFI's services. Source: UEFI 2.10, 4.3 (system table), 4.6 (configuration
table).
"""

from kpy import static, u16, u32, u64

from kernel.x86 import boot_info
from kernel.x86.paging import map_device
from kernel.x86.table_read import read16, read32, read64

SIGNATURE = int.from_bytes(b"IBI SYST", "little")
SYSTEM_TABLE_BYTES = 120
REVISION, VENDOR, VENDOR_REVISION = 8, 24, 32
RUNTIME_SERVICES, NR_TABLES, TABLES = 88, 104, 112
TABLE_BYTES = 24  # a GUID and an address
MAX_TABLES = 512
MAX_VENDOR = 100  # characters, of two bytes each


class AcpiGuid:
    """The first and second half of the GUIDs of ACPI's root pointer."""

    NEW_LOW, NEW_HIGH = 0x11D3E4F18868E871, 0x81883CC7800022BC
    OLD_LOW, OLD_HIGH = 0x11D32D88EB9D2D30, 0x4DC13F279000169A


efi_revision = static(u32)  # 0: there is no system table
efi_runtime_revision = static(u32)
efi_tables_maddr = static(u64)
nr_efi_tables = static(u64)
efi_vendor = static(u64)  # where the vendor's name is mapped; 0: nowhere
efi_vendor_revision = static(u32)


def efi_init() -> None:
    """Read the system table, if the boot loader passed one. Context: boot, on the core's tables."""
    global efi_revision, efi_tables_maddr, nr_efi_tables, efi_vendor_revision
    global efi_vendor, efi_runtime_revision
    if boot_info.efi_system_table == 0:
        return
    table = map_device(boot_info.efi_system_table, SYSTEM_TABLE_BYTES)
    if table == 0 or read64(table) != SIGNATURE:
        return
    efi_revision = read32(table + REVISION)
    efi_vendor_revision = read32(table + VENDOR_REVISION)
    efi_vendor = map_device(read64(table + VENDOR), MAX_VENDOR * 2)
    runtime = map_device(read64(table + RUNTIME_SERVICES), REVISION + 4)
    if runtime != 0:
        efi_runtime_revision = read32(runtime + REVISION)
    efi_tables_maddr = read64(table + TABLES)
    nr_efi_tables = min(read64(table + NR_TABLES), MAX_TABLES)


def vendor_character(index: u64) -> u16:
    """Return a character of the vendor's name; 0 at its end."""
    if efi_vendor == 0 or index >= MAX_VENDOR:
        return 0
    return read16(efi_vendor + index * 2)


def efi_rsdp() -> u64:
    """Return the machine address of ACPI's root pointer, the newer one if there are two; or 0."""
    old: u64 = 0
    tables = map_device(efi_tables_maddr, nr_efi_tables * TABLE_BYTES)
    for i in range(nr_efi_tables if tables != 0 else u64(0)):
        entry = tables + i * TABLE_BYTES
        low, high = read64(entry), read64(entry + 8)
        if low == AcpiGuid.NEW_LOW and high == AcpiGuid.NEW_HIGH:
            return read64(entry + 16)
        if low == AcpiGuid.OLD_LOW and high == AcpiGuid.OLD_HIGH:
            old = read64(entry + 16)
    return old
