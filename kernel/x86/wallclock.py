"""The time of day at boot, from the machine's battery-backed clock.

Source: Motorola MC146818A data sheet. The clock is taken to run in UTC, in the 21st century.
"""

from kpy import Array, static, u8, u64

from kernel.x86 import fixed_hardware
from kernel.x86.cpu import in8, out8

CMOS_INDEX = 0x70
CMOS_DATA = 0x71
SECONDS, MINUTES, HOURS, DAY, MONTH, YEAR = 0, 2, 4, 7, 8, 9
STATUS_A, STATUS_B = 0x0A, 0x0B
UPDATE_IN_PROGRESS = 0x80
BINARY_MODE = 0x04
HOURS_24 = 0x02
PM = 0x80
PATIENCE = 100_000
SECONDS_PER_DAY = 86_400

days_before_month = static(Array[u64, 12], [0, 31, 59, 90, 120, 151, 181, 212, 243, 273, 304, 334])


def read_cmos(register: u8) -> u8:
    """Read a register of the clock."""
    out8(CMOS_INDEX, register)
    return in8(CMOS_DATA)


def read_number(register: u8, is_binary: bool) -> u64:
    """Read a register that holds a number, in binary or in two decimal digits."""
    value = u64(read_cmos(register))
    return value if is_binary else (value >> 4) * 10 + (value & 0xF)


def read_cmos_seconds() -> u64:
    """Return the seconds since 1970-01-01 00:00 UTC; 0 where ACPI says that there is no clock, for
    domain 0 to set.
    """
    if not fixed_hardware.has_cmos_clock:
        return 0
    for _ in range(PATIENCE):
        if read_cmos(STATUS_A) & UPDATE_IN_PROGRESS == 0:
            break
    while True:
        before = read_cmos(SECONDS)
        time = read_once()
        if read_cmos(SECONDS) == before:
            return time


def read_once() -> u64:
    """Read all registers and convert; the clock may tick meanwhile."""
    mode = read_cmos(STATUS_B)
    is_binary = mode & BINARY_MODE != 0
    hours = read_hours(mode)
    days = days_since_1970(
        2000 + read_number(YEAR, is_binary),
        read_number(MONTH, is_binary),
        read_number(DAY, is_binary),
    )
    return (
        days * SECONDS_PER_DAY
        + hours * 3600
        + read_number(MINUTES, is_binary) * 60
        + read_number(SECONDS, is_binary)
    )


def read_hours(mode: u8) -> u64:
    """Return the hour of the day, from either of the clock's notations."""
    raw = read_cmos(HOURS)
    digits = u64(raw & ~PM)
    hours = digits if mode & BINARY_MODE != 0 else (digits >> 4) * 10 + (digits & 0xF)
    if mode & HOURS_24 != 0:
        return hours
    return hours % 12 + (12 if raw & PM != 0 else 0)


def days_since_1970(year: u64, month: u64, day: u64) -> u64:
    """Count days, Gregorian calendar, 1970 to 2099."""
    if month < 1 or month > 12 or day < 1:
        return 0
    leap_days = (year - 1969) // 4
    days = (year - 1970) * 365 + leap_days + days_before_month[month - 1] + day - 1
    if month > 2 and year % 4 == 0:
        days += 1
    return days
