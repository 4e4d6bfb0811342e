"""The sched_op hypercall: a guest gives up the CPU, waits, or ends."""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Result,
    Tainted,
    bit,
    i64,
    ref,
    require,
    static,
    truncate,
    u32,
    u64,
    uninitialized,
)

import kernel.domain.watchdog
import kernel.sched.poll  # noqa: F401  these two register their operations
from kernel.base.guest_memory import copy_from_guest
from kernel.base.ids import DomId
from kernel.base.operation import Operation, call_operation
from kernel.base.registry import hypercall
from kernel.domain.shutdown import domain_shutdown
from kernel.panic.crash_report import report_crash
from kernel.sched.operations import sched_op, sched_ops
from kernel.sched.place import set_hard_affinity
from kernel.sched.schedule import vcpu_yield
from kernel.sched.wake import vcpu_block
from kernel.state.domain import Domain, SHUTDOWN_CODE_none, get_domain_by_id
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import nr_cpus, online_cpus

operations = static(Array[Operation | None, abi.SCHEDOP_pin_override + 1], sched_ops)


@hypercall(abi.__HYPERVISOR_sched_op)
def do_sched_op(vcpu: Ptr[Vcpu], cmd: Tainted[u32], arg: Tainted[u64]) -> i64:
    """Serve one scheduling operation.

    Hypercall: sched_op(cmd: SCHEDOP_*, arg: its structure in the guest).
    Errors: -EFAULT, the structure; -ENOSYS, no such operation; and those of the operation.
    """
    return call_operation(ref(operations), vcpu, cmd, arg)


@hypercall(abi.__HYPERVISOR_sched_op_compat)
def do_sched_op_compat(vcpu: Ptr[Vcpu], cmd: Tainted[u32], reason: Tainted[u32]) -> i64:
    """Serve the hypercall's oldest form.

    Yield, block, and shutdown with the reason as the argument itself.
    """
    match cmd:
        case abi.SCHEDOP_yield:
            return sched_yield(vcpu)
        case abi.SCHEDOP_block:
            return sched_block(vcpu)
        case abi.SCHEDOP_shutdown:
            return guest_shutdown(vcpu.domain, reason & 0xFF)
        case _:
            return -abi.ENOSYS


@sched_op(abi.SCHEDOP_yield)
def sched_yield(caller: Ptr[Vcpu]) -> i64:
    """Let others run."""
    vcpu_yield(caller)
    return 0


@sched_op(abi.SCHEDOP_block)
def sched_block(caller: Ptr[Vcpu]) -> i64:
    """Unmask events and sleep until there is one."""
    caller.vcpu_info.evtchn_upcall_mask = 0
    vcpu_block(caller)
    return 0


@sched_op(abi.SCHEDOP_shutdown)
def sched_shutdown(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.sched_shutdown]]) -> i64:
    """End the caller's domain."""
    return guest_shutdown(caller.domain, op.reason & 0xFF)


def guest_shutdown(d: Ptr[Domain], reason: u32) -> i64:
    """End a domain in its own name; if it calls that a crash, report where it was."""
    if reason == abi.SHUTDOWN_crash and not d.is_shutting_down:
        report_crash(d, b"it says so itself")
    return domain_shutdown(d, reason)


@sched_op(abi.SCHEDOP_shutdown_code)
def sched_shutdown_code(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.sched_shutdown]]) -> Result[None]:
    """Note the reason for which the domain will shut down later, unless one is noted."""
    with caller.domain.shutdown_lock:
        if caller.domain.shutdown_code == SHUTDOWN_CODE_none:
            caller.domain.shutdown_code = op.reason & 0xFF


@sched_op(abi.SCHEDOP_remote_shutdown)
def sched_remote_shutdown(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.sched_remote_shutdown]]) -> i64:
    """End another domain in its name.

    Errors: -ESRCH, no such domain; -EPERM, the caller is not privileged.
    """
    with get_domain_by_id(DomId(op.domain_id)) as domain:
        require(domain is not None, -abi.ESRCH)
        require(caller.domain.is_privileged, -abi.EPERM)
        return domain_shutdown(domain, op.reason & 0xFF)


@sched_op(abi.SCHEDOP_pin_override)
def sched_pin_override(caller: Ptr[Vcpu], arg: Guest[abi.sched_pin_override]) -> Result[None]:
    """Pin the caller to one physical CPU for a while, or with a negative number undo that.

    Errors: -EPERM, not domain 0, whatever the structure; -EFAULT; -EINVAL, no such CPU, or nothing
    to undo; -EBUSY, pinned already.
    """
    require(caller.domain.is_privileged, -abi.EPERM)
    op = uninitialized(Tainted[abi.sched_pin_override])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    sched = ref(caller.sched)
    if op.pcpu < 0:
        require(sched.affinity_before_pin != 0, -abi.EINVAL)
        set_hard_affinity(caller, sched.affinity_before_pin)
        sched.affinity_before_pin = 0
        return
    cpu = truncate(u32, op.pcpu)
    require(cpu < nr_cpus and online_cpus() & bit(u64(cpu)) != 0, -abi.EINVAL)
    require(sched.affinity_before_pin == 0, -abi.EBUSY)
    sched.affinity_before_pin = sched.affinity
    set_hard_affinity(caller, bit(u64(cpu)))
