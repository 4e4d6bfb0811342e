"""The rate of the time-stamp counter, measured against whichever clock the machine has.

In this order: the ACPI timer, the high-precision timer, the old timer of the PC unless ACPI says
that there is none, and at last what the processor says of itself. Source: ACPI 6.4, 4.8.3.3; IA-PC
HPET Specification 1.0a, 2.3; Intel 8254 data sheet; Intel SDM vol 3 19.7.3 (CPUID leaf 0x15).
"""

from kpy import (
    Fn,
    Ptr,
    panic,
    truncate,
    u8,
    u16,
    u32,
    u64,
    volatile_load,
    volatile_store,
    wrapping_sub,
)

from kernel.x86 import fixed_hardware
from kernel.x86.cpu import in8, in32, out8, pause, rdtsc
from kernel.x86.features import cpuid
from kernel.x86.paging import map_device

PM_TIMER_HZ = 3_579_545
PM_TIMER_MASK = 0xFFFFFF
CALIBRATION_TICKS = 35_795  # 10 ms
CALIBRATION_NS = 10_000_000
PIT_HZ = 1_193_182
PIT_TICKS = 11_932  # 10 ms
PIT_CHANNEL_2 = 0x42
PIT_COMMAND = 0x43
PIT_GATE = 0x61
HPET_BYTES = 0x400
HPET_CAPABILITIES = 0x000
HPET_CONFIGURATION = 0x010
HPET_COUNTER = 0x0F0
HPET_ENABLE = 1
HPET_MAX_PERIOD_FS = 100_000_000
FS_PER_NS = 1_000_000
TSC_LEAF = 0x15
TRIES = 4  # looks at a clock, of which the quickest counts
PATIENCE = 1 << 34  # TSC ticks; 3 s and more on any processor of today
STANDS_STILL = 1 << 32


def measure_tsc_khz() -> u64:
    """Return the rate of the time-stamp counter, or panic: without it no time can be kept."""
    khz: u64 = 0
    if fixed_hardware.pm_timer_port != 0:
        khz = measure_by_pm_timer(fixed_hardware.pm_timer_port)
    if khz == 0 and fixed_hardware.hpet_maddr != 0:
        khz = measure_by_hpet(map_device(fixed_hardware.hpet_maddr, HPET_BYTES))
    if khz == 0 and fixed_hardware.has_pit:
        khz = measure_by_pit()
    if khz == 0:
        khz = khz_by_cpuid()
    if khz == 0:
        panic("no clock measures the time-stamp counter: no ACPI timer, HPET, PIT or CPUID 0x15")
    return khz


def measure_by_pm_timer(port: u16) -> u64:
    """Return the TSC's rate in kHz, counted over about 10 ms of the ACPI timer, which has at least
    24 bits; 0 if that stands still.
    """
    first = in32(port)
    begin = rdtsc()
    while in32(port) == first:
        if rdtsc() - begin > STANDS_STILL:
            return 0
        pause()
    start_count, start = look_at_once(read_pm_timer, u64(port))
    elapsed: u32 = 0
    ticks: u64 = 0
    while elapsed < CALIBRATION_TICKS:
        count, now = look_at_once(read_pm_timer, u64(port))
        elapsed = wrapping_sub(count, start_count) & PM_TIMER_MASK
        ticks = now - start
        if ticks > PATIENCE:
            return 0
    return ticks * PM_TIMER_HZ // u64(elapsed) // 1000


def read_pm_timer(port: u64) -> u32:
    """Read the ACPI timer."""
    return in32(u16(port))


def look_at_once(look: Fn[[u64], u32], place: u64) -> tuple[u32, u64]:
    """Read a clock and the TSC at the same time: of a few tries the one that took least, for what
    comes between may take a hypervisor, or firmware, as long as it likes.

    Returns: the clock's count, and the TSC half way.
    """
    count: u32 = 0
    middle: u64 = 0
    least: u64 = (1 << 64) - 1
    for _ in range(TRIES):
        before = rdtsc()
        seen = look(place)
        took = rdtsc() - before
        if took < least:
            least = took
            count = seen
            middle = before + took // 2
    return count, middle


def measure_by_hpet(registers: u64) -> u64:
    """Return the TSC's rate in kHz, counted over 10 ms of the high-precision timer; 0 if it is
    none, or stands still.
    """
    if registers == 0:
        return 0
    period_fs = u64(hpet_read(registers, HPET_CAPABILITIES + 4))
    if period_fs == 0 or period_fs > HPET_MAX_PERIOD_FS:
        return 0
    configuration = Ptr[u32](registers + HPET_CONFIGURATION)
    volatile_store(configuration, volatile_load(configuration) | HPET_ENABLE)
    start_count, start = look_at_once(read_hpet_counter, registers)
    elapsed_ns: u64 = 0
    ticks: u64 = 0
    while elapsed_ns < CALIBRATION_NS:
        count, now = look_at_once(read_hpet_counter, registers)
        elapsed_ns = u64(wrapping_sub(count, start_count)) * period_fs // FS_PER_NS
        ticks = now - start
        if ticks > PATIENCE:
            return 0
    return ticks * 1_000_000 // elapsed_ns


def read_hpet_counter(registers: u64) -> u32:
    """Read the high-precision timer's count."""
    return hpet_read(registers, HPET_COUNTER)


def hpet_read(registers: u64, offset: u64) -> u32:
    """Read 32 bits of the high-precision timer."""
    return volatile_load(Ptr[u32](registers + offset))


def measure_by_pit() -> u64:
    """Return the TSC's rate in kHz, counted over 10 ms of the PIT's channel 2; 0 if that stands
    still.
    """
    out8(PIT_GATE, in8(PIT_GATE) & 0xFC | 1)
    out8(PIT_COMMAND, 0xB0)
    out8(PIT_CHANNEL_2, truncate(u8, PIT_TICKS & 0xFF))
    out8(PIT_CHANNEL_2, truncate(u8, PIT_TICKS >> 8))
    start = rdtsc()
    while in8(PIT_GATE) & 0x20 == 0:
        if rdtsc() - start > PATIENCE:
            return 0
        pause()
    return (rdtsc() - start) * PIT_HZ // PIT_TICKS // 1000


def khz_by_cpuid() -> u64:
    """Return the TSC's rate in kHz as the processor knows it; 0 if it does not."""
    if cpuid(0, 0).eax < TSC_LEAF:
        return 0
    leaf = cpuid(TSC_LEAF, 0)
    if leaf.eax == 0:
        return 0
    return u64(leaf.ecx) * u64(leaf.ebx) // u64(leaf.eax) // 1000
