"""Pausing whole domains, by the core and by the toolstack."""

import abi
from kpy import Ptr, atomic_add, atomic_cas, atomic_load, atomic_sub, i64, ref, require

from kernel.sched.wake import vcpu_sleep_nosync, vcpu_sleep_sync, vcpu_unpause, vcpu_wake
from kernel.state.domain import Domain, SHUTDOWN_CODE_none

MAX_CONTROLLER_PAUSES = 255


def domain_pause(d: Ptr[Domain]) -> None:
    """Keep all vCPUs of another domain from running until `domain_unpause`.

    Returns when they have stopped.
    """
    atomic_add(ref(d.pause_count), 1)
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            vcpu_sleep_sync(v)


def domain_unpause(d: Ptr[Domain]) -> None:
    """Undo one pause."""
    if atomic_sub(ref(d.pause_count), 1) != 1:
        return
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            vcpu_wake(v)


def domain_pause_by_controller(d: Ptr[Domain]) -> i64:
    """Pause on behalf of the toolstack. Errors: -EOVERFLOW, it has done so too often.

    Locks: domctl_lock, held.
    """
    require(count_controller_pause(d), -abi.EOVERFLOW)
    domain_pause(d)
    return 0


def domain_pause_by_trap(d: Ptr[Domain]) -> bool:
    """Pause the running vCPU's domain on behalf of the toolstack's debugger, waiting for nobody.

    Returns: False when it is paused too often. Context: a trap of a vCPU; domctl_lock must not be
    wanted here, since its holder may be waiting for this very vCPU to stop.
    """
    if not count_controller_pause(d):
        return False
    atomic_add(ref(d.pause_count), 1)
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            vcpu_sleep_nosync(v)
    return True


def count_controller_pause(d: Ptr[Domain]) -> bool:
    """Count one more pause by the toolstack; False when there are too many."""
    count = atomic_load(ref(d.controller_pause_count))
    while count < MAX_CONTROLLER_PAUSES:
        count, done = atomic_cas(ref(d.controller_pause_count), count, count + 1)
        if done:
            return True
    return False


def domain_unpause_by_controller(d: Ptr[Domain]) -> i64:
    """Undo one pause by the toolstack. Errors: -EINVAL, there is none. Locks: domctl_lock, held."""
    require(atomic_load(ref(d.controller_pause_count)) != 0, -abi.EINVAL)
    atomic_sub(ref(d.controller_pause_count), 1)
    d.creation_finished = True
    domain_unpause(d)
    return 0


def domain_resume(d: Ptr[Domain]) -> None:
    """Let a domain that has shut down, to be suspended, run on."""
    domain_pause(d)
    with d.shutdown_lock:
        d.is_shutting_down = False
        d.is_shut_down = False
        d.shutdown_code = SHUTDOWN_CODE_none
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None and v.is_paused_for_shutdown:
            v.is_paused_for_shutdown = False
            vcpu_unpause(v)
    domain_unpause(d)
