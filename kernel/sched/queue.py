"""The run queue.

Every vCPU that could run and does not, over all physical CPUs, by rising virtual runtime.

One queue for the whole machine gives fairness between CPUs for nothing; its lock guards all
scheduling state. A vCPU whose context is still in the registers of the CPU that it left can be
taken by that CPU only.
"""

from kpy import Ptr, atomic_add, atomic_sub, bit, inline, ref, static, struct, u32, u64

from kernel.base.spinlock import SpinLock
from kernel.state.vcpu import Vcpu


@struct(align=64)
class RunQueue:
    lock: SpinLock
    nr_queued: u32  # changed atomically, so that an idle CPU can look without the lock
    first: Ptr[Vcpu] | None
    last: Ptr[Vcpu] | None
    virtual_time: u64  # the least virtual runtime of all that want to run; never goes back
    idle_cpus: u64  # CPUs that found nothing to run, a bit each; changed atomically


run_queue = static(RunQueue)


def enqueue(v: Ptr[Vcpu]) -> None:
    """Insert a vCPU behind all that have run as little as it. Locks: the run queue's, held."""
    behind = run_queue.last
    while behind is not None:
        if behind.sched.virtual_runtime <= v.sched.virtual_runtime:
            break
        behind = behind.sched.previous
    insert_behind(v, behind)
    v.sched.is_queued = True
    atomic_add(ref(run_queue.nr_queued), 1)


@inline
def insert_behind(v: Ptr[Vcpu], behind: Ptr[Vcpu] | None) -> None:
    """Link a vCPU in behind another, or first."""
    ahead = run_queue.first
    if behind is None:
        run_queue.first = v
    else:
        ahead = behind.sched.next
        behind.sched.next = v
    v.sched.previous = behind
    v.sched.next = ahead
    if ahead is None:
        run_queue.last = v
    else:
        ahead.sched.previous = v


def dequeue(v: Ptr[Vcpu]) -> None:
    """Take a queued vCPU out. Locks: the run queue's, held."""
    ahead = v.sched.next
    behind = v.sched.previous
    if behind is None:
        run_queue.first = ahead
    else:
        behind.sched.next = ahead
    if ahead is None:
        run_queue.last = behind
    else:
        ahead.sched.previous = behind
    v.sched.is_queued = False
    atomic_sub(ref(run_queue.nr_queued), 1)


def take_first_for(cpu: u32) -> Ptr[Vcpu] | None:
    """Take out the vCPU that has run least among those that may run on a CPU.

    Locks: the run queue's, held.
    """
    v = run_queue.first
    while v is not None:
        if v.sched.affinity & bit(u64(cpu)) and (v.context_loaded == 0 or v.processor == cpu):
            dequeue(v)
            return v
        v = v.sched.next
    return None
