"""A processor that takes no interrupts any more is noticed by its neighbour.

The core runs with interrupts off, so one that loops or waits for a lost lock is silent for ever.
Each processor sends the next one an interrupt now and then, whose handler counts; a count that
stands still for STALE_LOOKS looks is reported, with what every processor is doing. It is a report
and no panic: the processor may be a thread of an emulator whose host has no time for it.

A machine of one processor has nobody to notice.
"""

from kpy import Array, Ptr, atomic_load, cold, container_of, ref, static, struct, u32, u64

from kernel.console.console import printk
from kernel.panic.cpu_state import report_from_here
from kernel.sched.timer_heap import init_timer, set_timer
from kernel.state.timer import Timer
from kernel.x86.ipi import WORK_EVENT, ipi_kick
from kernel.x86.percpu import NR_CPUS, cpu_by_id, nr_cpus, online_cpus, this_cpu
from kernel.x86.tsc import NS_PER_S, system_time_ns

PERIOD_NS = 5_000_000_000
STALE_LOOKS = 3


@struct
class Watch:
    """What a processor knows of its neighbour."""

    timer: Timer
    seen: u64  # the neighbour's count at the last look
    stale_looks: u32  # that found it unchanged


watches = static(Array[Watch, NR_CPUS])


def watch_neighbour() -> None:
    """Begin to watch the next processor. Context: each processor, as it starts to run guests."""
    if nr_cpus > 1:
        watch = ref(watches[this_cpu().id])
        init_timer(ref(watch.timer), look)
        set_timer(ref(watch.timer), system_time_ns() + PERIOD_NS)


def neighbour_of(cpu: u32) -> u32:
    """Return the next processor that runs the core."""
    for step in range(1, nr_cpus):
        other = (cpu + step) % nr_cpus
        if online_cpus() >> other & 1:
            return other
    return cpu


def look(timer: Ptr[Timer]) -> None:
    """See whether the neighbour took an interrupt since the last look, and send it one more.

    Context: timer interrupt.
    """
    watch = container_of(timer, Watch, "timer")
    neighbour = neighbour_of(this_cpu().id)
    count = atomic_load(ref(cpu_by_id(neighbour).nr_ipis))
    watch.stale_looks = watch.stale_looks + 1 if count == watch.seen else 0
    watch.seen = count
    if watch.stale_looks == STALE_LOOKS:
        report_silence(neighbour)
    ipi_kick(neighbour, WORK_EVENT)
    set_timer(timer, system_time_ns() + PERIOD_NS)


@cold
def report_silence(neighbour: u32) -> None:
    """Say that a processor hangs, and what every one does."""
    cpu = this_cpu()
    cpu.in_nmi = True  # printk takes no locks: the one that hangs may hold the console's
    silent_s = STALE_LOOKS * PERIOD_NS // NS_PER_S
    printk(f"cpu {neighbour} has taken no interrupt for {silent_s} s; what everybody is doing:")
    report_from_here()
    cpu.in_nmi = False
