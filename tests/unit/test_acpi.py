"""ACPI's tables from 1.0 to 6.4, and UEFI's, read in process from memory of this test."""

import struct
import uuid

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

from tests.unit.boot_loader import PAGE, PAGES, PLACE, LoaderMemory

LOCAL_APIC, IO_APIC, OVERRIDE, APIC_ADDRESS, X2APIC = 0, 1, 2, 5, 9
PORT, MEMORY = 1, 0
ACPI_2 = uuid.UUID("8868e871-e4f1-11d3-bc22-0080c73c8881")
ACPI_1 = uuid.UUID("eb9d2d30-2d88-11d3-9a16-0090273fc14d")
SMBIOS = uuid.UUID("eb9d2d31-2d88-11d3-9a16-0090273fc14d")
NUMBERS = {
    "acpi": ("nr_cpus_found", "nr_io_apics", "nr_overrides"),
    "boot_info": ("rsdp_length", "efi_system_table"),
    "efi": ("efi_revision", "nr_efi_tables", "efi_tables_maddr", "efi_vendor"),
    "fixed_hardware": ("pm_timer_port", "pm1a_control_port", "reset_port", "hpet_maddr"),
}


class Firmware:
    """A machine's tables; `read` has the core read them."""

    def __init__(self):
        self.memory = LoaderMemory()
        self.bios_rsdp = 0
        self.program = jit.load(
            "kernel.x86.acpi",
            replace={
                "kernel.x86.paging.map_device": self.map_device,
                "kernel.x86.acpi.find_bios_rsdp": lambda: self.bios_rsdp,
            },
            also=("kernel.x86.efi",),
        )

    def __getitem__(self, name):
        return self.program[f"kernel.x86.{name}"]

    def map_device(self, maddr, size):
        """Show what the test wrote; elsewhere, nothing."""
        inside = maddr >= PLACE and maddr + size <= PLACE + PAGES * PAGE
        return self.memory.window() + maddr if inside else 0

    def start_over(self):
        for module, names in NUMBERS.items():
            for name in names:
                self[f"{module}.{name}"].value = 0
        for name in ("fixed_hardware.has_pit", "fixed_hardware.has_cmos_clock", "acpi.has_pic"):
            self[name].value = True
        self.place, self.bios_rsdp = PLACE, 0

    def put(self, data):
        """Write somewhere; return the machine address."""
        at = self.place
        self.memory.put(at, data)
        self.place += (len(data) + 15) // 16 * 16
        return at

    def read(self, rsdp):
        """Read the tables by the boot loader's copy of the root pointer."""
        for i, byte in enumerate(rsdp):
            self["boot_info.rsdp"][i] = byte
        self["boot_info.rsdp_length"].value = len(rsdp)
        return self["acpi.acpi_init"]()

    def cpus(self):
        return [self["acpi.cpu_apic_ids"][i] for i in range(self["acpi.nr_cpus_found"].value)]


@pytest.fixture(scope="module")
def loaded():
    return Firmware()


@pytest.fixture
def firmware(loaded):
    loaded.start_over()
    return loaded


def summed(data, place):
    """Set the byte at `place` so that all bytes add up to 0."""
    data = bytearray(data)
    data[place] = -(sum(data) - data[place]) & 0xFF
    return bytes(data)


def table(name, body, revision=1):
    header = struct.pack(
        "<4sIBB6s8sIII", name, 36 + len(body), revision, 0, b"PROXEN", b"", 0, 0, 0
    )
    return summed(header + body, 9)


def rsdp(rsdt=0, xsdt=None):
    old = summed(
        struct.pack("<8sB6sBI", b"RSD PTR ", 0, b"PROXEN", 0 if xsdt is None else 2, rsdt), 8
    )
    return old if xsdt is None else summed(old + struct.pack("<IQI", 36, xsdt, 0), 32)


def with_tables(firmware, *tables, old=False):
    """Read tables, listed as ACPI 1.0 or as later versions do."""
    places = [firmware.put(data) for data in tables]
    code = "I" if old else "Q"
    root = firmware.put(
        table(b"RSDT" if old else b"XSDT", struct.pack(f"<{len(places)}{code}", *places))
    )
    return firmware.read(rsdp(rsdt=root) if old else rsdp(xsdt=root))


def local_apic(id, enabled=1):
    return struct.pack("<BBBBI", LOCAL_APIC, 8, id, id, enabled)


def madt(*entries, flags=1, apic=0xFEE00000):
    return table(b"APIC", struct.pack("<II", apic, flags) + b"".join(entries))


def fadt(length=276, revision=6, fields=()):
    body = bytearray(length - 36)
    for offset, code, value in fields:
        struct.pack_into(
            code, body, offset - 36, *(value if isinstance(value, tuple) else (value,))
        )
    return table(b"FACP", bytes(body), revision)


def address(kind, value):
    """Return the fields of a generic address."""
    return (kind, 32, 0, 0, value)


@pytest.mark.parametrize("old", [True, False])
def test_processors_and_interrupt_controllers(firmware, old):
    entries = (
        local_apic(0),
        local_apic(7, enabled=0),
        struct.pack("<BBHIII", X2APIC, 16, 0, 300, 1, 300),
        struct.pack("<BBBBII", IO_APIC, 12, 2, 0, 0xFEC00000, 24),
        struct.pack("<BBBBIH", OVERRIDE, 10, 0, 0, 2, 0),
        struct.pack("<BBHQ", APIC_ADDRESS, 12, 0, 0x1FEE00000),
    )
    assert with_tables(firmware, table(b"SSDT", b"x" * 99), madt(*entries), old=old)
    assert firmware.cpus() == [0, 300]
    assert firmware["acpi.nr_io_apics"].value == 1
    assert firmware["acpi.io_apics"][0].first_gsi == 24
    assert firmware["acpi.overrides"][0].gsi == 2
    assert firmware["acpi.apic_maddr"].value == 0x1FEE00000
    assert firmware["acpi.has_pic"].value


def test_a_machine_without_the_old_interrupt_controller(firmware):
    with_tables(firmware, madt(local_apic(0), flags=0))
    assert not firmware["acpi.has_pic"].value


def test_the_first_version_of_the_fadt(firmware):
    """116 bytes, no extended addresses, no reset register, whatever its flags say."""
    fields = ((64, "<I", 0x604), (76, "<I", 0x608), (112, "<I", 1 << 10))
    with_tables(firmware, fadt(116, 1, fields), old=True)
    assert firmware["fixed_hardware.pm1a_control_port"].value == 0x604
    assert firmware["fixed_hardware.pm_timer_port"].value == 0x608
    assert firmware["fixed_hardware.reset_port"].value == 0
    assert firmware["fixed_hardware.has_cmos_clock"].value


def test_extended_addresses_count_where_the_old_ones_are_empty(firmware):
    fields = (
        (172, "<BBBBQ", address(PORT, 0x1804)),
        (208, "<BBBBQ", address(PORT, 0x1808)),
        (112, "<I", 1 << 10),
        (116, "<BBBBQ", address(PORT, 0xCF9)),
        (128, "<B", 6),
    )
    with_tables(firmware, fadt(fields=fields))
    assert firmware["fixed_hardware.pm1a_control_port"].value == 0x1804
    assert firmware["fixed_hardware.pm_timer_port"].value == 0x1808
    assert firmware["fixed_hardware.reset_port"].value == 0xCF9
    assert firmware["fixed_hardware.reset_value"].value == 6


def test_addresses_in_memory_are_no_ports(firmware):
    fields = ((208, "<BBBBQ", address(MEMORY, 0xFED80808)), (112, "<I", 1 << 10))
    with_tables(firmware, fadt(fields=fields))
    assert firmware["fixed_hardware.pm_timer_port"].value == 0
    assert firmware["fixed_hardware.reset_port"].value == 0


def test_reduced_hardware(firmware):
    fields = ((76, "<I", 0x608), (109, "<H", 1 << 5), (112, "<I", 1 << 20))
    with_tables(firmware, fadt(fields=fields))
    assert firmware["fixed_hardware.pm_timer_port"].value == 0
    assert not firmware["fixed_hardware.has_pit"].value
    assert not firmware["fixed_hardware.has_cmos_clock"].value


def test_the_high_precision_timer(firmware):
    body = struct.pack("<IBBBBQBHB", 0x8086A201, MEMORY, 64, 0, 0, 0xFED00000, 0, 0, 0)
    with_tables(firmware, table(b"HPET", body))
    assert firmware["fixed_hardware.hpet_maddr"].value == 0xFED00000


def test_a_damaged_table_is_left_out(firmware):
    damaged = bytearray(madt(local_apic(5)))
    damaged[-1] ^= 1
    with_tables(firmware, bytes(damaged), table(b"APIC", b""), madt(local_apic(3)))
    assert firmware.cpus() == [3]


@pytest.mark.parametrize("length", [0, 35, 1 << 31, 0xFFFFFFFF])
def test_a_table_of_an_absurd_length_is_left_out(firmware, length):
    data = bytearray(madt(local_apic(5)))
    struct.pack_into("<I", data, 4, length)
    with_tables(firmware, summed(data, 9), madt(local_apic(3)))
    assert firmware.cpus() == [3]


@pytest.mark.parametrize(
    "broken", [b"\0\0", b"\0\1", b"\0\7" + bytes(5), b"\1\4\0\0", b"\0\xff" + bytes(6)]
)
def test_broken_entries_are_left_out(firmware, broken):
    with_tables(firmware, madt(local_apic(1), broken))
    assert firmware.cpus() == [1]
    assert firmware["acpi.nr_io_apics"].value == 0


@settings(max_examples=300, deadline=None)
@given(kind=st.sampled_from([b"APIC", b"FACP", b"HPET"]), body=st.binary(max_size=300))
def test_no_table_makes_it_read_beyond_its_end(loaded, kind, body):
    """The table ends where the memory does."""
    loaded.start_over()
    data = table(kind, body)
    place = loaded.memory.put_at_end(data) + (-len(data) % 8)
    data_at = PLACE + PAGES * PAGE - len(data)
    loaded.memory.put(data_at, data)
    root = loaded.put(table(b"XSDT", struct.pack("<Q", data_at)))
    assert place and loaded.read(rsdp(xsdt=root))


def efi(firmware, *tables, signature=b"IBI SYST"):
    """Write a system table that lists tables, as (GUID, address)."""
    entries = firmware.put(b"".join(guid.bytes_le + struct.pack("<Q", at) for guid, at in tables))
    vendor = firmware.put("EDK II\0".encode("utf-16-le").ljust(200, b"\0"))
    runtime = firmware.put(struct.pack("<QI", 0, 2 << 16 | 70))
    head = struct.pack("<8sIIIIQI", signature, 2 << 16 | 70, 120, 0, 0, vendor, 0x10000)
    tail = struct.pack("<QQQQ", runtime, 0, len(tables), entries)
    firmware["boot_info.efi_system_table"].value = firmware.put(head.ljust(88, b"\0") + tail)
    firmware["efi.efi_init"]()


def test_the_root_pointer_comes_from_uefi(firmware):
    root = firmware.put(table(b"XSDT", struct.pack("<Q", firmware.put(madt(local_apic(2))))))
    old, new = firmware.put(rsdp(rsdt=0).ljust(36, b"\0")), firmware.put(rsdp(xsdt=root))
    efi(firmware, (ACPI_1, old), (SMBIOS, 1), (ACPI_2, new))
    assert firmware["efi.efi_revision"].value == 2 << 16 | 70
    assert firmware["acpi.acpi_init"]()
    assert firmware.cpus() == [2]
    name = [firmware["efi.vendor_character"](i) for i in range(8)]
    assert "".join(map(chr, name)) == "EDK II\0\0"


@pytest.mark.parametrize("tables", [(), ((ACPI_2, 0),), ((ACPI_2, 1 << 40),)])
def test_a_uefi_without_a_root_pointer_has_no_tables(firmware, tables):
    """Nobody looks into the BIOS's memory there."""
    firmware.bios_rsdp = firmware.memory.window() + firmware.put(rsdp(rsdt=1))
    efi(firmware, *tables)
    assert not firmware["acpi.acpi_init"]()


def test_what_is_no_system_table_is_none(firmware):
    efi(firmware, signature=b"whatever")
    assert firmware["efi.efi_revision"].value == 0


def test_a_damaged_copy_of_the_root_pointer_is_not_used(firmware):
    root = firmware.put(table(b"XSDT", b""))
    damaged = bytearray(rsdp(xsdt=root))
    damaged[9] ^= 1
    assert not firmware.read(bytes(damaged))
    firmware.bios_rsdp = firmware.memory.window() + firmware.put(rsdp(xsdt=root))
    assert firmware.read(bytes(damaged))
