"""System time: nanoseconds since boot, from the time-stamp counter.

The rate is measured at boot (kernel/x86/calibrate.py). Time is `(tsc - base) scaled by
2^shift * mul / 2^32`, the formula of the PV ABI's vcpu_time_info, so that the core and its guests
compute the same. The counters of all processors must agree; `kernel.x86.smp` checks that as each
one starts.
"""

from kpy import i8, inline, saturating_sub, static, truncate, u32, u64

from kernel.x86.cpu import pause, rdtsc
from kernel.x86.wide import multiply_shift_32

NS_PER_S = 1_000_000_000
NS_PER_MS = 1_000_000

tsc_khz = static(u64)
tsc_base = static(u64)  # reading at system time 0
tsc_to_system_mul = static(u32)
tsc_shift = static(i8)
left_shift = static(u64)
right_shift = static(u64)


def tsc_init(khz: u64) -> None:
    """Start system time, with the rate of the TSC."""
    global tsc_khz, tsc_base
    tsc_khz = khz
    set_scale(tsc_khz)
    tsc_base = rdtsc()


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
