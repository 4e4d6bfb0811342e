"""What hardware the machine has at fixed places, as ACPI says: timers, power control, and which
parts of the old PC are missing.

Old tables are shorter than new ones, so every field is asked for by `has`. Source: ACPI 6.4, 5.2.9
(FADT); ACPI 1.0b, 5.2.5; IA-PC HPET Specification 1.0a, 3.2.4.
"""

from kpy import static, truncate, u8, u16, u32, u64

from kernel.x86.table_read import read8, read16, read32, read64

PM1A_CONTROL, PM1B_CONTROL, PM_TIMER = 64, 68, 76
BOOT_ARCHITECTURE, FLAGS, RESET_REGISTER, RESET_VALUE = 109, 112, 116, 128
X_PM1A_CONTROL, X_PM1B_CONTROL, X_PM_TIMER = 172, 184, 208
ADDRESS_BYTES = 12  # a generic address: kind, width, offset, access size, address
HPET_ADDRESS = 40
TABLE_REVISION = 8
RESET_SUPPORTED = 1 << 10
HARDWARE_REDUCED = 1 << 20
NO_CMOS_CLOCK = 1 << 5
BOOT_ARCHITECTURE_SINCE = 3  # revision of the FADT


class AddressKind:
    """Where a generic address leads."""

    MEMORY, PORT = 0, 1


pm_timer_port = static(u16)
pm1a_control_port = static(u16)
pm1b_control_port = static(u16)
reset_port = static(u16)
reset_value = static(u8)
hpet_maddr = static(u64)
has_pit = static(bool, True)
has_cmos_clock = static(bool, True)


def has(table: u64, offset: u64, size: u64) -> bool:
    """Whether a table is long enough for a field."""
    return offset + size <= u64(read32(table + 4))


def port_of(table: u64, offset: u64, extended: u64) -> u16:
    """Return a register block's port: the old field's, or the extended one's; 0 if it has none."""
    if has(table, offset, 4) and read32(table + offset) != 0:
        return truncate(u16, read32(table + offset))
    return port_at(table, extended)


def port_at(table: u64, offset: u64) -> u16:
    """Return the port of a generic address; 0 if it is none, or is not there."""
    if not has(table, offset, ADDRESS_BYTES) or read8(table + offset) != AddressKind.PORT:
        return 0
    return truncate(u16, read64(table + offset + 4))


def read_fadt(table: u64) -> None:
    """Read where power control and the timer are."""
    global pm_timer_port, pm1a_control_port, pm1b_control_port
    flags = read32(table + FLAGS) if has(table, FLAGS, 4) else u32(0)
    read_what_is_missing(table, flags)
    if flags & HARDWARE_REDUCED != 0:
        return
    pm1a_control_port = port_of(table, PM1A_CONTROL, X_PM1A_CONTROL)
    pm1b_control_port = port_of(table, PM1B_CONTROL, X_PM1B_CONTROL)
    pm_timer_port = port_of(table, PM_TIMER, X_PM_TIMER)


def read_what_is_missing(table: u64, flags: u32) -> None:
    """Read which of the old PC's devices are not there, and how the machine is reset."""
    global has_pit, has_cmos_clock, reset_port, reset_value
    has_pit = flags & HARDWARE_REDUCED == 0
    if read8(table + TABLE_REVISION) >= BOOT_ARCHITECTURE_SINCE and has(
        table, BOOT_ARCHITECTURE, 2
    ):
        has_cmos_clock = read16(table + BOOT_ARCHITECTURE) & NO_CMOS_CLOCK == 0
    if flags & RESET_SUPPORTED != 0 and has(table, RESET_VALUE, 1):
        reset_port = port_at(table, RESET_REGISTER)
        reset_value = read8(table + RESET_VALUE)


def read_hpet(table: u64) -> None:
    """Read where the high-precision timer's registers are."""
    global hpet_maddr
    is_there = has(table, HPET_ADDRESS, ADDRESS_BYTES)
    if is_there and read8(table + HPET_ADDRESS) == AddressKind.MEMORY:
        hpet_maddr = read64(table + HPET_ADDRESS + 4)
