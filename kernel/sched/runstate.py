"""Runstates: how long each vCPU has been running, runnable, blocked and offline, and the copy that
its guest may read.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    atomic_load,
    bit,
    i32,
    inline,
    load,
    noinline,
    offsetof,
    ref,
    saturating_sub,
    u32,
    u64,
    wrapping_add,
)

from kernel.base.guest_memory import copy_to_guest
from kernel.state.vcpu import Vcpu, VPF_blocked
from kernel.trace.record import tracing
from kernel.trace.runstates import record_runstate_change
from kernel.x86.tsc import system_time_ns


@inline
def change_runstate(v: Ptr[Vcpu], state: u32, now: u64) -> None:
    """Enter a RUNSTATE_*, counting the time spent in the one before.

    Locks: the run queue's, held.
    """
    runstate = ref(v.sched.runstate)
    if tracing(abi.TRC_SCHED_RUNSTATE_CHANGE):
        record_runstate_change(v, u32(runstate.state), state)
    runstate.time[u32(runstate.state)] += saturating_sub(now, runstate.state_entry_time)
    runstate.state_entry_time = now
    runstate.state = i32(state)


@inline
def resting_runstate(v: Ptr[Vcpu]) -> u32:
    """Return the state of a vCPU that cannot run.

    Blocked if it waits for an event, else offline.
    """
    if atomic_load(ref(v.pause_flags)) & VPF_blocked:
        return abi.RUNSTATE_blocked
    return abi.RUNSTATE_offline


def current_runstate(v: Ptr[Vcpu]) -> abi.vcpu_runstate_info:
    """Return a vCPU's times up to now."""
    runstate = load(ref(v.sched.runstate))
    now = system_time_ns()
    runstate.time[u32(runstate.state)] += saturating_sub(now, runstate.state_entry_time)
    return runstate


def vcpu_runtime_ns(v: Ptr[Vcpu]) -> u64:
    """Return how long a vCPU has executed."""
    return current_runstate(v).time[abi.RUNSTATE_running]


@inline
def update_runstate_area(v: Ptr[Vcpu]) -> None:
    """Bring the guest's copy of the runstate up to date, if it has registered one.

    Context: the vCPU's address space is loaded. In guest user mode the area may be out of reach:
    then `runstate_stale` makes the next switch to the guest kernel try again.
    """
    if v.sched.runstate_area != 0:
        write_runstate_area(v)


@noinline
def write_runstate_area(v: Ptr[Vcpu]) -> None:
    """Write the guest's copy, marked as being in change meanwhile if the guest understands that."""
    area = v.sched.runstate_area
    copy = load(ref(v.sched.runstate))
    entry_time = copy.state_entry_time
    entry_time_at = Guest[u64](
        wrapping_add(area, offsetof(abi.vcpu_runstate_info, "state_entry_time"))
    )
    marks = v.domain.vm_assist & bit(abi.VMASST_TYPE_runstate_update_flag) != 0
    if marks:
        copy.state_entry_time |= abi.XEN_RUNSTATE_UPDATE
        marked = copy.state_entry_time
        copy_to_guest(entry_time_at, ref(marked))
    written = copy_to_guest(Guest[abi.vcpu_runstate_info](area), ref(copy))
    if marks:
        copy_to_guest(entry_time_at, ref(entry_time))
    v.sched.runstate_stale = not written
