"""System time: nanoseconds since boot, from the time-stamp counter.

The rate is measured at boot against the ACPI timer, else the PIT. Time is `(tsc - base) scaled by
2^shift * mul / 2^32`, the formula of the PV ABI's vcpu_time_info, so that the core and its guests
compute the same. The counters of all processors must agree; `kernel.x86.smp` checks that as each
one starts.
"""

from kpy import i8, inline, panic, saturating_sub, static, truncate, u8, u16, u32, u64, wrapping_sub

from kernel.x86.cpu import in8, in32, out8, pause, rdtsc
from kernel.x86.wide import multiply_shift_32

PM_TIMER_HZ = 3_579_545
PM_TIMER_MASK = 0xFFFFFF
CALIBRATION_TICKS = 35_795  # 10 ms
PIT_HZ = 1_193_182
PIT_TICKS = 11_932  # 10 ms
PIT_CHANNEL_2 = 0x42
PIT_COMMAND = 0x43
PIT_GATE = 0x61
NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

tsc_khz = static(u64)
tsc_base = static(u64)  # reading at system time 0
tsc_to_system_mul = static(u32)
tsc_shift = static(i8)
left_shift = static(u64)
right_shift = static(u64)


def tsc_init(pm_timer_port: u16) -> None:
    """Measure the rate of the TSC and start system time. `pm_timer_port` is 0 where the machine has
    none.
    """
    global tsc_khz, tsc_base
    if pm_timer_port != 0:
        tsc_khz = measure_by_pm_timer(pm_timer_port)
    else:
        tsc_khz = measure_by_pit()
    if tsc_khz == 0:
        panic("the time-stamp counter does not count")
    set_scale(tsc_khz)
    tsc_base = rdtsc()


def measure_by_pm_timer(port: u16) -> u64:
    """Return the TSC's rate in kHz, counted over about 10 ms of the ACPI timer, which has at least
    24 bits.
    """
    first = in32(port)
    while in32(port) == first:
        pause()
    start_count = in32(port)
    start = rdtsc()
    elapsed: u32 = 0
    while elapsed < CALIBRATION_TICKS:
        elapsed = wrapping_sub(in32(port), start_count) & PM_TIMER_MASK
    ticks = rdtsc() - start
    return ticks * PM_TIMER_HZ // u64(elapsed) // 1000


def measure_by_pit() -> u64:
    """Return the TSC's rate in kHz, counted over 10 ms of the PIT's channel 2."""
    out8(PIT_GATE, in8(PIT_GATE) & 0xFC | 1)
    out8(PIT_COMMAND, 0xB0)
    out8(PIT_CHANNEL_2, truncate(u8, PIT_TICKS & 0xFF))
    out8(PIT_CHANNEL_2, truncate(u8, PIT_TICKS >> 8))
    start = rdtsc()
    while in8(PIT_GATE) & 0x20 == 0:
        pause()
    return (rdtsc() - start) * PIT_HZ // PIT_TICKS // 1000


def set_scale(khz: u64) -> None:
    """Express nanoseconds per tick as a shift and a 32-bit fraction between one half and one."""
    global tsc_shift, tsc_to_system_mul, left_shift, right_shift
    hz = khz * 1000
    left_shift = 0
    right_shift = 0
    while hz > 2 * NS_PER_S:
        hz >>= 1
        right_shift += 1
    while hz <= NS_PER_S:
        hz <<= 1
        left_shift += 1
    tsc_to_system_mul = truncate(u32, (NS_PER_S << 32) // hz)
    tsc_shift = truncate(i8, left_shift) - truncate(i8, right_shift)


@inline
def tsc_to_ns(ticks: u64) -> u64:
    """Scale a number of ticks to nanoseconds."""
    return multiply_shift_32(ticks << left_shift >> right_shift, tsc_to_system_mul)


@inline
def system_time_ns() -> u64:
    """Return the nanoseconds since boot; never goes back, on whichever processor."""
    return tsc_to_ns(saturating_sub(rdtsc(), tsc_base))


def ns_to_tsc(time_ns: u64) -> u64:
    """Return the TSC reading at a system time."""
    seconds = time_ns // NS_PER_S
    rest = time_ns % NS_PER_S
    return tsc_base + seconds * tsc_khz * 1000 + rest * tsc_khz // 1_000_000


def delay_us(microseconds: u64) -> None:
    """Wait busily."""
    start = rdtsc()
    while rdtsc() - start < microseconds * tsc_khz // 1000:
        pause()
