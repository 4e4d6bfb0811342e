"""Placing vCPUs: how much each has run against the others, and which CPU should take one up."""

import abi
from kpy import (
    Array,
    Ptr,
    Tainted,
    atomic_and,
    atomic_load,
    bit,
    ctz,
    inline,
    noinline,
    ref,
    saturating_sub,
    static,
    struct,
    trusted,
    u32,
    u64,
)

from kernel.sched.queue import enqueue, run_queue
from kernel.sched.runstate import change_runstate
from kernel.state.sched_unit import DEFAULT_WEIGHT
from kernel.state.timer import Timer
from kernel.state.vcpu import Vcpu
from kernel.x86.ipi import WORK_RESCHEDULE, ipi_kick
from kernel.x86.numa import same_node
from kernel.x86.percpu import NR_CPUS, nr_cpus, this_cpu
from kernel.x86.topology import is_uneven, thread_masks
from kernel.x86.tsc import system_time_ns

WAKE_CREDIT_NS = 5_000_000  # how far behind the others a woken vCPU may start
PREEMPT_MARGIN_NS = 500_000  # how much less it must have run to take the CPU from another at once


@struct(align=64)
class CpuSched:
    running: Ptr[Vcpu] | None  # None: idle
    arrived_at_ns: u64  # since when `running` runs
    slice_timer: Timer
    slice_random: u64  # see sched_slice.py; 0: all slices are equally long


cpu_scheds = static(Array[CpuSched, NR_CPUS])


@inline
def can_run(v: Ptr[Vcpu]) -> bool:
    """Tell whether nothing but the lack of a CPU keeps a vCPU from running."""
    paused = atomic_load(ref(v.pause_flags)) | atomic_load(ref(v.pause_count))
    return paused | atomic_load(ref(v.domain.pause_count)) == 0


@inline
def virtual_runtime_at(v: Ptr[Vcpu], now: u64) -> u64:
    """Return the virtual runtime of a running vCPU, the uncharged part included."""
    elapsed = saturating_sub(now, v.sched.dispatched_at_ns)
    return v.sched.virtual_runtime + elapsed * DEFAULT_WEIGHT // u64(v.domain.sched_weight)


def charge(v: Ptr[Vcpu], now: u64) -> None:
    """Add the time that a running vCPU used since the last charge to its virtual runtime."""
    v.sched.virtual_runtime = virtual_runtime_at(v, now)
    v.sched.dispatched_at_ns = now


def advance_virtual_time(now: u64) -> None:
    """Let virtual time follow the vCPU that has run least among those that want to run.

    Locks: the run queue's, held.
    """
    least: u64 = (1 << 64) - 1
    if run_queue.first is not None:
        least = run_queue.first.sched.virtual_runtime
    for cpu in range(nr_cpus):
        running = cpu_scheds[cpu].running
        if running is not None:
            least = min(least, virtual_runtime_at(running, now))
    if run_queue.virtual_time < least < (1 << 64) - 1:
        run_queue.virtual_time = least


def make_runnable(v: Ptr[Vcpu], now: u64) -> None:
    """Queue a vCPU that came to be able to run, and get it a CPU. Locks: the run queue's, held."""
    advance_virtual_time(now)
    change_runstate(v, abi.RUNSTATE_runnable, now)
    start = saturating_sub(run_queue.virtual_time, WAKE_CREDIT_NS)
    v.sched.virtual_runtime = max(v.sched.virtual_runtime, start)
    enqueue(v)
    find_cpu(v, now)


def find_cpu(v: Ptr[Vcpu], now: u64) -> None:
    """Alert the CPU that should look at a freshly queued vCPU.

    An idle one, best its last, or one whose vCPU ran most.
    """
    # some of those that are idle
    idle_cpus = trusted(atomic_load(ref(run_queue.idle_cpus)) & v.sched.affinity)
    if idle_cpus != 0:
        if is_uneven:
            idle_cpus = best_idle(v, idle_cpus)
        cpu = v.processor if idle_cpus & bit(u64(v.processor)) else u32(ctz(idle_cpus))
        atomic_and(ref(run_queue.idle_cpus), ~bit(u64(cpu)))
        alert(cpu)
        return
    victim, lead = greatest_lead(v, now)
    if victim < NR_CPUS and (
        lead > PREEMPT_MARGIN_NS or not cpu_scheds[victim].slice_timer.is_active
    ):
        alert(victim)


@noinline
def best_idle(v: Ptr[Vcpu], idle_cpus: u64) -> u64:
    """Choose among idle CPUs: those on a core that is idle as a whole if there are any, and of
    these those of the node where the vCPU ran last.
    """
    all_idle = atomic_load(ref(run_queue.idle_cpus))
    best: u64 = 0
    rest = idle_cpus
    while rest != 0:
        cpu = ctz(rest)
        rest &= rest - 1
        if thread_masks[cpu] & ~all_idle == 0:
            best |= bit(cpu)
    if best == 0:
        best = idle_cpus
    near = best & same_node(v.processor)
    return near if near != 0 else best


def greatest_lead(v: Ptr[Vcpu], now: u64) -> tuple[u32, u64]:
    """Find the CPU open to `v` whose vCPU has run most.

    Returns: it, NR_CPUS if there is none, and how much more than `v`.
    """
    victim: u32 = NR_CPUS
    greatest: u64 = 0
    for cpu in range(nr_cpus):
        running = cpu_scheds[cpu].running
        if running is not None and v.sched.affinity & bit(u64(cpu)):
            reached = virtual_runtime_at(running, now)
            if victim == NR_CPUS or reached > greatest:
                victim = cpu
                greatest = reached
    return victim, saturating_sub(greatest, v.sched.virtual_runtime)


def alert(cpu: u32) -> None:
    """Make a CPU ask the scheduler soon."""
    if cpu == this_cpu().id:
        this_cpu().reschedule = True
    else:
        ipi_kick(cpu, WORK_RESCHEDULE)


def offer_work(left: Ptr[Vcpu]) -> None:
    """Find a CPU for `left`, which just left this one and could not be taken by others until now.

    If it may come back here, an idle CPU does for it, or for any other that waits. If it may not,
    one that it may go to has to make room.
    """
    must_move = left.sched.affinity & bit(u64(this_cpu().id)) == 0
    if run_queue.nr_queued == 0 or not must_move and atomic_load(ref(run_queue.idle_cpus)) == 0:
        return
    with run_queue.lock:
        if must_move and left.sched.is_queued:
            find_cpu(left, system_time_ns())
            return
        queued = run_queue.first
        while queued is not None:
            idle_cpus = atomic_load(ref(run_queue.idle_cpus)) & queued.sched.affinity
            if idle_cpus != 0:
                alert(u32(ctz(idle_cpus)))
                return
            queued = queued.sched.next


def set_hard_affinity(v: Ptr[Vcpu], mask: Tainted[u64]) -> None:
    """Restrict a vCPU to the CPUs of a mask, at least one of which is online.

    It leaves another one soon.
    """
    with run_queue.lock:
        v.sched.affinity = mask
        if v.is_running and mask & bit(u64(v.processor)) == 0:
            v.sched.gives_way = True
            alert(v.processor)
        elif v.sched.is_queued:
            find_cpu(v, system_time_ns())
