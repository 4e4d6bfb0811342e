"""The scheduler: which vCPU each physical CPU runs.

Each vCPU collects *virtual runtime*: the time it ran, scaled by its domain's weight. A CPU that
looks for work takes the queued vCPU with the least; so over time each gets its share of all CPUs
together. A vCPU that slept is put back near the least of all that want to run, with a small credit:
it gets a CPU soon, as an interactive guest needs, but cannot save up more.

Who runs is left alone for LEAST_RUN_NS, unless it blocks: a front end and a back end that share a
CPU would otherwise be switched for each request, and never find two in their ring.

Timer interrupts come only where somebody waits: a CPU whose vCPU has no rival gets no slice timer,
an idle one none at all.

Lock: the run queue's guards every vCPU's `sched`, `is_running` and `processor`. A vCPU's context
can be in the registers of its CPU for a moment after it left (`context_loaded`); no other CPU takes
it meanwhile, so no state is ever fetched by an interrupt.
"""

import abi
from kpy import (
    Array,
    Fn,
    Ptr,
    atomic_and,
    atomic_load,
    atomic_or,
    atomic_store,
    bit,
    inline,
    ref,
    static,
    u32,
    u64,
)

from kernel.base.registry import idle_work
from kernel.evtchn.trace_virq import tell_reader
from kernel.frames.scrub import scrub_due, scrub_step
from kernel.sched.place import advance_virtual_time, can_run, charge, cpu_scheds, offer_work
from kernel.sched.queue import enqueue, run_queue, take_first_for
from kernel.sched.runstate import change_runstate, resting_runstate, update_runstate_area
from kernel.sched.slice import init_slices, slice_ns
from kernel.sched.timer_heap import init_timer, set_timer
from kernel.state.timer import Timer
from kernel.state.vcpu import Vcpu
from kernel.trace.record import trace_2, tracing
from kernel.trace.runstates import record_switch
from kernel.x86.apic import apic_pending_vector
from kernel.x86.context import save_context, switch_to
from kernel.x86.idle import idle_wait
from kernel.x86.percpu import Pcpu, nr_cpus, online_cpus, this_cpu
from kernel.x86.tsc import system_time_ns

LEAST_RUN_NS = 1_000_000  # a disk or network request costs a back end some 10,000
MAX_LEAD_NS = 100_000_000  # how far ahead of the others a vCPU can be that nobody competed with

idle_function = static(Array[Fn[[], None] | None, 1], idle_work)


def schedule(current: Ptr[Vcpu]) -> Ptr[Vcpu]:
    """Return the vCPU that this CPU shall run, with its state loaded; wait for one in
    the idle loop.

    Context: on the way out of the core, no lock held. `current` is the vCPU that entered the core
    here.
    """
    cpu = this_cpu()
    cpu.reschedule = False
    if insists(current, cpu.id):
        return current
    with run_queue.lock:
        now = system_time_ns()
        leave(current, now)
        chosen = arrive(cpu.id, now)
        if chosen != current:
            change_runstate(current, rest_state(current), now)
    if chosen != current and tracing(abi.TRC_SCHED_SWITCH):
        record_switch(current, chosen)
    if chosen is None:
        update_runstate_area(current)
        save_context(current)
        atomic_store(ref(current.context_loaded), 0)
        offer_work(current)
        return idle(cpu)
    start_slice(cpu.id)
    if chosen != current:
        update_runstate_area(current)
        switch_to(current, chosen)
        atomic_store(ref(current.context_loaded), 0)
        offer_work(current)
        update_runstate_area(chosen)
    return chosen


def insists(current: Ptr[Vcpu], cpu: u32) -> bool:
    """Tell whether `current` goes on without asking, because it came to this CPU just now.

    The slice timer then brings back whoever wanted the CPU. Needs no lock: what it reads is this
    CPU's own, or only makes it ask the scheduler once more.
    """
    if current.sched.gives_way or not can_run(current):
        return False
    until = cpu_scheds[cpu].arrived_at_ns + LEAST_RUN_NS
    if system_time_ns() >= until:
        return False
    timer = ref(cpu_scheds[cpu].slice_timer)
    if run_queue.nr_queued != 0 and (not timer.is_active or timer.expires_ns > until):
        set_timer(timer, until)
    return True


def schedule_first() -> Ptr[Vcpu]:
    """Return the first vCPU that a freshly started CPU runs."""
    cpu = this_cpu()
    init_timer(ref(cpu_scheds[cpu.id].slice_timer), slice_is_over)
    init_slices(cpu.id)
    return idle(cpu)


def idle(cpu: Ptr[Pcpu]) -> Ptr[Vcpu]:
    """Sleep until there is a vCPU to run, and load its state.

    The only place where the core takes interrupts.
    """
    while True:
        cpu.reschedule = False
        # First say that we idle, then look: who queues a vCPU does it the other way round.
        atomic_or(ref(run_queue.idle_cpus), bit(u64(cpu.id)))
        chosen = find_work(cpu.id)
        if chosen is not None:
            if tracing(abi.TRC_SCHED_SWITCH):
                record_switch(None, chosen)
            start_slice(cpu.id)
            switch_to(None, chosen)
            update_runstate_area(chosen)
            return chosen
        do_idle_work()
        tell_reader()
        if cpu.reschedule:
            continue  # whom that woke is to run here, and no interrupt will say so
        if scrub_due() and apic_pending_vector() == 0:
            scrub_step()
        else:
            idle_wait()


def do_idle_work() -> None:
    """Do what other rooms left for a processor that nobody wants (kernel.base.registry.idle)."""
    work = idle_function[0]
    if work is not None:
        work()


def find_work(cpu: u32) -> Ptr[Vcpu] | None:
    """Return a vCPU for an idle CPU to run. Takes no lock when nothing is queued at all."""
    if atomic_load(ref(run_queue.nr_queued)) == 0:
        return None
    with run_queue.lock:
        return arrive(cpu, system_time_ns())


def leave(current: Ptr[Vcpu], now: u64) -> None:
    """Stop counting `current` as running here; queue it if it could go on.

    Locks: the run queue's, held.
    """
    charge(current, now)
    advance_virtual_time(now)
    current.sched.virtual_runtime = min(
        current.sched.virtual_runtime, run_queue.virtual_time + MAX_LEAD_NS
    )
    current.is_running = False
    if can_run(current):
        enqueue(current)


def arrive(cpu: u32, now: u64) -> Ptr[Vcpu] | None:
    """Choose the vCPU that `cpu` runs from now on and count it as running.

    Locks: the run queue's, held.
    """
    chosen = take_first_for(cpu)
    cpu_scheds[cpu].running = chosen
    if chosen is None:
        return None
    atomic_and(ref(run_queue.idle_cpus), ~bit(u64(cpu)))
    chosen.is_running = True
    chosen.processor = cpu
    atomic_store(ref(chosen.context_loaded), 1)
    chosen.sched.dispatched_at_ns = now
    chosen.sched.gives_way = False
    cpu_scheds[cpu].arrived_at_ns = now
    if chosen.sched.runstate.state != abi.RUNSTATE_running:
        change_runstate(chosen, abi.RUNSTATE_running, now)
    return chosen


@inline
def start_slice(cpu: u32) -> None:
    """Bound how long this CPU runs what it has just chosen, if anybody waits."""
    if run_queue.nr_queued != 0:
        set_timer(ref(cpu_scheds[cpu].slice_timer), system_time_ns() + slice_ns(cpu))


@inline
def rest_state(v: Ptr[Vcpu]) -> u32:
    """Return the runstate of a vCPU that does not run: waiting for a CPU, or unable to run."""
    if v.sched.is_queued:
        return abi.RUNSTATE_runnable
    return resting_runstate(v)


def slice_is_over(timer: Ptr[Timer]) -> None:
    """Ask for the scheduler: somebody else waits. Context: timer interrupt."""
    this_cpu().reschedule = True


def vcpu_yield(v: Ptr[Vcpu]) -> None:
    """Let another vCPU that waits go first, once. Context: the running vCPU."""
    trace_2(abi.TRC_SCHED_YIELD, u32(v.domain.domain_id), v.vcpu_id)
    with run_queue.lock:
        first = run_queue.first
        if first is None:
            return
        charge(v, system_time_ns())
        v.sched.virtual_runtime = max(v.sched.virtual_runtime, first.sched.virtual_runtime + 1)
        v.sched.gives_way = True
    this_cpu().reschedule = True


def init_sched_unit(v: Ptr[Vcpu]) -> None:
    """Give a new vCPU its place.

    Offline, allowed on every CPU, to start on the next one in turn.
    """
    v.sched.affinity = (1 << 64) - 1
    v.sched.soft_affinity = (1 << 64) - 1
    v.sched.runstate.state = abi.RUNSTATE_offline
    v.sched.runstate.state_entry_time = system_time_ns()
    cpu = (u32(v.domain.domain_id) + v.vcpu_id) % nr_cpus
    v.processor = cpu if online_cpus() & bit(u64(cpu)) else 0
