"""Time: nanoseconds since the hypervisor started, computed from the TSC as vcpu_time_info says, and
the wall clock.
"""

from kpy import (
    asm,
    barrier,
    i64,
    ref,
    u64,
    volatile_load,
    wrapping_add,
    wrapping_mul,
    wrapping_sub,
)

from libos.layout import shared_info

NS_PER_SECOND = 1_000_000_000
LOW_HALF = 0xFFFF_FFFF


@asm("rdtsc\nshl rdx, 32\nor rax, rdx", "={rax},~{rdx},~{flags}", sideeffect=True)
def rdtsc() -> u64: ...


def system_time_ns() -> u64:
    """Read the clock. The hypervisor makes `version` odd while it writes: then, or when it changed,
    read again.
    """
    time = ref(shared_info.vcpu_info[0].time)
    while True:
        version = volatile_load(ref(time.version))
        barrier()
        elapsed = wrapping_sub(rdtsc(), time.tsc_timestamp)
        now = wrapping_add(
            time.system_time, scale(elapsed, u64(time.tsc_to_system_mul), i64(time.tsc_shift))
        )
        barrier()
        if version % 2 == 0 and volatile_load(ref(time.version)) == version:
            return now


def scale(ticks: u64, multiplier: u64, shift: i64) -> u64:
    """Return (ticks << shift) * multiplier >> 32, without losing the product's upper bits."""
    shifted = ticks << u64(shift) if shift >= 0 else ticks >> u64(-shift)
    high, low = shifted >> 32, shifted & LOW_HALF
    return wrapping_add(wrapping_mul(high, multiplier), wrapping_mul(low, multiplier) >> 32)


def wall_clock_ns() -> u64:
    """Nanoseconds since 1970."""
    while True:
        version = volatile_load(ref(shared_info.wc_version))
        barrier()
        seconds = u64(shared_info.wc_sec_hi) << 32 | u64(shared_info.wc_sec)
        start = seconds * NS_PER_SECOND + u64(shared_info.wc_nsec)
        barrier()
        if version % 2 == 0 and volatile_load(ref(shared_info.wc_version)) == version:
            return start + system_time_ns()
