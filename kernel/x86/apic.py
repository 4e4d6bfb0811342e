"""The local APIC: interrupts between processors, the timer, end of interrupt.

Used through MSRs where the processor has an x2APIC, else through its page of registers. The timer
is armed by a TSC deadline or by a count that runs down once. Source: Intel SDM vol 3 chapter 11.
"""

from kpy import (
    Ptr,
    clz,
    inline,
    saturating_sub,
    static,
    truncate,
    u32,
    u64,
    volatile_load,
    volatile_store,
)

from kernel.x86 import tsc
from kernel.x86.bits import MSR_APIC_BASE, MSR_TSC_DEADLINE, MSR_X2APIC
from kernel.x86.cpu import pause, rdmsr, rdtsc, wrmsr
from kernel.x86.features import has_tsc_deadline, has_x2apic
from kernel.x86.paging import map_device

FIRST_DEVICE_VECTOR = 0x30
END_DEVICE_VECTOR = 0xF0
IPI_VECTOR = 0xF8
TIMER_VECTOR = 0xF9
ERROR_VECTOR = 0xFE
SPURIOUS_VECTOR = 0xFF

APIC_ID = 0x20
APIC_TASK_PRIORITY = 0x80
APIC_EOI = 0xB0
APIC_SPURIOUS = 0xF0
APIC_IRR = 0x200
APIC_ICR_LOW = 0x300
APIC_ICR_HIGH = 0x310
APIC_LVT_TIMER = 0x320
APIC_LVT_LINT0 = 0x350
APIC_LVT_LINT1 = 0x360
APIC_LVT_ERROR = 0x370
APIC_TIMER_INITIAL = 0x380
APIC_TIMER_CURRENT = 0x390
APIC_TIMER_DIVIDE = 0x3E0

APIC_ENABLE = 1 << 8
BASE_ENABLE = 1 << 11
BASE_X2APIC = 1 << 10
LVT_MASKED = 1 << 16
LVT_NMI = 4 << 8
TIMER_TSC_DEADLINE = 2 << 17
DIVIDE_BY_1 = 0xB
ICR_PENDING = 1 << 12
ICR_ASSERT = 1 << 14
ICR_INIT = 5 << 8
ICR_STARTUP = 6 << 8
ICR_NMI = 4 << 8
ICR_ALL_OTHERS = 3 << 18
MAX_COUNT = 0xFFFFFFFF
MAX_SLEEP_NS = 2_000_000_000

registers = static(u64)  # address of the page of registers; 0 with an x2APIC
timer_khz = static(u64)  # rate of the count


@inline
def apic_read(register: u32) -> u32:
    """Read a register of this processor's local APIC."""
    if has_x2apic:
        return truncate(u32, rdmsr(MSR_X2APIC + (register >> 4)))
    return volatile_load(Ptr[u32](registers + u64(register)))


@inline
def apic_write(register: u32, value: u32) -> None:
    """Write a register of this processor's local APIC."""
    if has_x2apic:
        wrmsr(MSR_X2APIC + (register >> 4), u64(value))
    else:
        volatile_store(Ptr[u32](registers + u64(register)), value)


@inline
def apic_eoi() -> None:
    """Tell the local APIC that the interrupt in service has been handled."""
    apic_write(APIC_EOI, 0)


def apic_map(maddr: u64) -> None:
    """Find the registers. Context: boot, once."""
    global registers
    if not has_x2apic:
        registers = map_device(maddr, 4096)


def apic_init() -> None:
    """Enable this processor's local APIC with everything but IPIs masked."""
    base = rdmsr(MSR_APIC_BASE) | BASE_ENABLE
    wrmsr(MSR_APIC_BASE, base)
    if has_x2apic:
        wrmsr(MSR_APIC_BASE, base | BASE_X2APIC)
    apic_write(APIC_TASK_PRIORITY, 0)
    apic_write(APIC_LVT_TIMER, LVT_MASKED | TIMER_VECTOR)
    apic_write(APIC_LVT_LINT0, LVT_MASKED)
    apic_write(APIC_LVT_LINT1, LVT_NMI)
    apic_write(APIC_LVT_ERROR, ERROR_VECTOR)
    apic_write(APIC_TIMER_DIVIDE, DIVIDE_BY_1)
    apic_write(APIC_SPURIOUS, APIC_ENABLE | SPURIOUS_VECTOR)


def apic_id() -> u32:
    """Return this processor's APIC id."""
    value = apic_read(APIC_ID)
    return value if has_x2apic else value >> 24


def send_icr(destination: u32, command: u32) -> None:
    """Send an interrupt command and wait until it is on its way."""
    if has_x2apic:
        wrmsr(MSR_X2APIC + (APIC_ICR_LOW >> 4), u64(destination) << 32 | u64(command))
        return
    while apic_read(APIC_ICR_LOW) & ICR_PENDING != 0:
        pause()
    apic_write(APIC_ICR_HIGH, destination << 24)
    apic_write(APIC_ICR_LOW, command)


def apic_send_ipi(destination: u32, vector: u32) -> None:
    """Interrupt a processor, named by its APIC id."""
    send_icr(destination, ICR_ASSERT | vector)


def apic_send_nmi_to_others() -> None:
    """Send an NMI to all other processors."""
    send_icr(0, ICR_ALL_OTHERS | ICR_ASSERT | ICR_NMI)


def apic_send_init(destination: u32) -> None:
    """Reset a processor to its wait-for-start-up state."""
    send_icr(destination, ICR_ASSERT | ICR_INIT)


def apic_send_startup(destination: u32, page: u32) -> None:
    """Start a processor in real mode at the beginning of a page of low memory."""
    send_icr(destination, ICR_ASSERT | ICR_STARTUP | page)


def apic_pending_vector() -> u32:
    """Return the highest vector that waits for delivery on this processor, 0 if none does."""
    for index in reversed(range(1, 8)):
        bits = apic_read(APIC_IRR + truncate(u32, index) * 16)
        if bits != 0:
            return truncate(u32, index) * 32 + 31 - clz(bits)
    return 0


def apic_timer_init() -> None:
    """Unmask the timer on this processor."""
    mode: u32 = TIMER_TSC_DEADLINE if has_tsc_deadline else 0
    apic_write(APIC_LVT_TIMER, mode | TIMER_VECTOR)


def apic_timer_calibrate(wait_tsc_ticks: u64) -> None:
    """Measure the rate of the count against the TSC. Context: boot, once."""
    global timer_khz
    if has_tsc_deadline:
        return
    apic_write(APIC_TIMER_INITIAL, MAX_COUNT)
    start = rdtsc()
    while rdtsc() - start < wait_tsc_ticks:
        pause()
    elapsed = rdtsc() - start
    count = u64(MAX_COUNT - apic_read(APIC_TIMER_CURRENT))
    apic_write(APIC_TIMER_INITIAL, 0)
    timer_khz = count * tsc.tsc_khz // elapsed


def apic_set_timer_deadline(deadline_ns: u64) -> None:
    """Interrupt this processor at a system time, soon if that has passed.

    A far deadline is cut: the timer queue finds nothing due then, and arms the timer again. No time
    stops the timer: guests choose them, and the end of a slice depends on it.
    """
    now = tsc.system_time_ns()
    delta = min(saturating_sub(deadline_ns, now), MAX_SLEEP_NS)
    if has_tsc_deadline:
        wrmsr(MSR_TSC_DEADLINE, tsc.ns_to_tsc(now + delta))
    else:
        apic_write(APIC_TIMER_INITIAL, timer_count(delta))


def timer_count(delta_ns: u64) -> u32:
    """Return the count that runs down in so many nanoseconds, MAX_SLEEP_NS at most."""
    return truncate(u32, min(max(delta_ns * timer_khz // 1_000_000, 1), MAX_COUNT))
