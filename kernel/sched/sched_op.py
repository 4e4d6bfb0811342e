"""The sched_op hypercall: a guest gives up the CPU, waits, or ends."""

import abi
from kpy import Guest, Ptr, bit, i64, ref, require, truncate, u8, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest
from kernel.base.ids import DomId
from kernel.base.registry import hypercall
from kernel.domain.shutdown import domain_shutdown
from kernel.domain.watchdog import domain_watchdog
from kernel.panic.crash_report import report_crash
from kernel.sched.place import set_hard_affinity
from kernel.sched.poll import sched_poll
from kernel.sched.schedule import vcpu_yield
from kernel.sched.wake import vcpu_block
from kernel.state.domain import Domain, SHUTDOWN_CODE_none, get_domain_by_id, put_domain
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import nr_cpus, online_cpus


@hypercall(abi.__HYPERVISOR_sched_op)
def do_sched_op(vcpu: Ptr[Vcpu], cmd: u64, arg: u64, c: u64, d: u64, e: u64) -> i64:
    """Serve one scheduling operation.

    Hypercall: sched_op(cmd: SCHEDOP_*, arg: its structure in the guest).
    Errors: -EFAULT, the structure; -ENOSYS, no such operation; and those of the operation.
    """
    match truncate(u32, cmd):
        case abi.SCHEDOP_yield:
            vcpu_yield(vcpu)
            return 0
        case abi.SCHEDOP_block:
            return sched_block(vcpu)
        case abi.SCHEDOP_shutdown:
            return sched_shutdown(vcpu, Guest[abi.sched_shutdown](arg))
        case abi.SCHEDOP_poll:
            return sched_poll(vcpu, Guest[abi.sched_poll](arg))
        case abi.SCHEDOP_remote_shutdown:
            return sched_remote_shutdown(vcpu, Guest[abi.sched_remote_shutdown](arg))
        case abi.SCHEDOP_shutdown_code:
            return sched_shutdown_code(vcpu, Guest[abi.sched_shutdown](arg))
        case abi.SCHEDOP_watchdog:
            op = uninitialized(abi.sched_watchdog)
            require(copy_from_guest(ref(op), Guest[abi.sched_watchdog](arg)), -abi.EFAULT)
            return domain_watchdog(vcpu.domain, op.id, op.timeout)
        case abi.SCHEDOP_pin_override:
            return sched_pin_override(vcpu, Guest[abi.sched_pin_override](arg))
        case _:
            return -abi.ENOSYS


@hypercall(abi.__HYPERVISOR_sched_op_compat)
def do_sched_op_compat(vcpu: Ptr[Vcpu], cmd: u64, arg: u64, c: u64, d: u64, e: u64) -> i64:
    """Serve the hypercall's oldest form.

    Yield, block, and shutdown with the reason as the argument itself.
    """
    match truncate(u32, cmd):
        case abi.SCHEDOP_yield:
            vcpu_yield(vcpu)
            return 0
        case abi.SCHEDOP_block:
            return sched_block(vcpu)
        case abi.SCHEDOP_shutdown:
            return guest_shutdown(vcpu.domain, u32(truncate(u8, arg)))
        case _:
            return -abi.ENOSYS


def sched_block(vcpu: Ptr[Vcpu]) -> i64:
    """Unmask events and sleep until there is one."""
    vcpu.vcpu_info.evtchn_upcall_mask = 0
    vcpu_block(vcpu)
    return 0


def sched_shutdown(vcpu: Ptr[Vcpu], arg: Guest[abi.sched_shutdown]) -> i64:
    """End the caller's domain."""
    op = uninitialized(abi.sched_shutdown)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    return guest_shutdown(vcpu.domain, u32(truncate(u8, op.reason)))


def guest_shutdown(d: Ptr[Domain], reason: u32) -> i64:
    """End a domain in its own name; if it calls that a crash, report where it was."""
    if reason == abi.SHUTDOWN_crash and not d.is_shutting_down:
        report_crash(d, b"it says so itself")
    return domain_shutdown(d, reason)


def sched_shutdown_code(vcpu: Ptr[Vcpu], arg: Guest[abi.sched_shutdown]) -> i64:
    """Note the reason for which the domain will shut down later, unless one is noted."""
    op = uninitialized(abi.sched_shutdown)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    with vcpu.domain.shutdown_lock:
        if vcpu.domain.shutdown_code == SHUTDOWN_CODE_none:
            vcpu.domain.shutdown_code = u32(truncate(u8, op.reason))
    return 0


def sched_remote_shutdown(vcpu: Ptr[Vcpu], arg: Guest[abi.sched_remote_shutdown]) -> i64:
    """End another domain in its name.

    Errors: -ESRCH, no such domain; -EPERM, the caller is not privileged.
    """
    op = uninitialized(abi.sched_remote_shutdown)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    domain = get_domain_by_id(DomId(op.domain_id))
    if domain is None:
        return -abi.ESRCH
    result = -abi.EPERM
    if vcpu.domain.is_privileged:
        result = domain_shutdown(domain, u32(truncate(u8, op.reason)))
    put_domain(domain)
    return result


def sched_pin_override(vcpu: Ptr[Vcpu], arg: Guest[abi.sched_pin_override]) -> i64:
    """Pin the caller to one physical CPU for a while, or with a negative number undo that.

    Errors: -EPERM, not domain 0; -EINVAL, no such CPU, or nothing to undo; -EBUSY, pinned already.
    """
    require(vcpu.domain.is_privileged, -abi.EPERM)
    op = uninitialized(abi.sched_pin_override)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    if op.pcpu < 0:
        require(vcpu.sched.affinity_before_pin != 0, -abi.EINVAL)
        set_hard_affinity(vcpu, vcpu.sched.affinity_before_pin)
        vcpu.sched.affinity_before_pin = 0
        return 0
    cpu = u32(op.pcpu)
    require(cpu < nr_cpus and online_cpus() & bit(u64(cpu)) != 0, -abi.EINVAL)
    require(vcpu.sched.affinity_before_pin == 0, -abi.EBUSY)
    vcpu.sched.affinity_before_pin = vcpu.sched.affinity
    set_hard_affinity(vcpu, bit(u64(cpu)))
    return 0
