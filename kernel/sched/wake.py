"""Blocking, waking, pausing: what makes a vCPU able or unable to run."""

import abi
from kpy import (
    Ptr,
    atomic_add,
    atomic_and,
    atomic_load,
    atomic_or,
    atomic_sub,
    bit,
    inline,
    noinline,
    ref,
    u32,
    u64,
)

from kernel.sched.place import alert, can_run, make_runnable
from kernel.sched.queue import dequeue, run_queue
from kernel.sched.runstate import change_runstate, resting_runstate
from kernel.state.vcpu import Vcpu, VPF_blocked
from kernel.trace.record import trace_2
from kernel.x86.cpu import pause
from kernel.x86.ipi import WORK_EVENT, ipi_kick, serve_mailbox
from kernel.x86.percpu import this_cpu
from kernel.x86.tsc import system_time_ns


def vcpu_wake(v: Ptr[Vcpu]) -> None:
    """Let a vCPU run if nothing keeps it from it any more."""
    with run_queue.lock:
        if can_run(v) and not v.sched.is_queued and not v.is_running:
            trace_2(abi.TRC_SCHED_WAKE, u32(v.domain.domain_id), v.vcpu_id)
            make_runnable(v, system_time_ns())


def vcpu_sleep_nosync(v: Ptr[Vcpu]) -> None:
    """Stop a vCPU that can't run any more. If it runs on another CPU it goes on for a moment."""
    with run_queue.lock:
        if can_run(v):
            return
        trace_2(abi.TRC_SCHED_SLEEP, u32(v.domain.domain_id), v.vcpu_id)
        if v.sched.is_queued:
            dequeue(v)
        if v.is_running:
            alert(v.processor)
        else:
            change_runstate(v, resting_runstate(v), system_time_ns())


def vcpu_sleep_sync(v: Ptr[Vcpu]) -> None:
    """Stop a vCPU that can't run any more, and wait until its whole state is in memory.

    Context: not from the vCPU itself, and with no lock held for which it may wait.
    """
    vcpu_sleep_nosync(v)
    while atomic_load(ref(v.context_loaded)) != 0:
        serve_mailbox()
        pause()


def vcpu_pause_nosync(v: Ptr[Vcpu]) -> None:
    """Keep a vCPU from running until `vcpu_unpause`; it may be the caller itself."""
    atomic_add(ref(v.pause_count), 1)
    vcpu_sleep_nosync(v)


def vcpu_unpause(v: Ptr[Vcpu]) -> None:
    """Undo one pause."""
    if atomic_sub(ref(v.pause_count), 1) == 1:
        vcpu_wake(v)


def vcpu_block(v: Ptr[Vcpu]) -> None:
    """Let the running vCPU sleep until an event comes, unless one is waiting to be delivered.

    The order, first the flag and then the look, means that an event sent in between finds the flag
    and wakes us.
    """
    atomic_or(ref(v.pause_flags), VPF_blocked)
    if has_event(v):
        atomic_and(ref(v.pause_flags), ~VPF_blocked)
    else:
        trace_2(abi.TRC_SCHED_BLOCK, u32(v.domain.domain_id), v.vcpu_id)
        this_cpu().reschedule = True


@inline
def has_event(v: Ptr[Vcpu]) -> bool:
    """Tell whether an event is pending that the guest does not mask."""
    info = v.vcpu_info
    return info.evtchn_upcall_pending != 0 and info.evtchn_upcall_mask == 0


@noinline
def vcpu_unblock(v: Ptr[Vcpu]) -> None:
    """End a vCPU's wait for an event, if it waits; a wait by SCHEDOP_poll ends too."""
    if atomic_and(ref(v.pause_flags), ~VPF_blocked) & VPF_blocked == 0:
        return
    if v.domain.evtchn.polling_vcpus != 0:
        v.poll_port = 0
        atomic_and(ref(v.domain.evtchn.polling_vcpus), ~bit(u64(v.vcpu_id)))
    vcpu_wake(v)


@inline
def vcpu_kick(v: Ptr[Vcpu]) -> None:
    """Make a vCPU look at its pending events soon: wake it, or interrupt it on its CPU."""
    if atomic_load(ref(v.pause_flags)) & VPF_blocked:
        vcpu_unblock(v)
    elif v.is_running and v.processor != this_cpu().id:
        ipi_kick(v.processor, WORK_EVENT)
