"""The vcpu_op hypercall: what a guest may do with its vCPUs."""

import abi
from kpy import (
    Guest,
    Ptr,
    atomic_and,
    atomic_load,
    atomic_or,
    i64,
    ref,
    require,
    truncate,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.registry import hypercall
from kernel.domain.shutdown import domain_shutdown
from kernel.domain.vcpu_context import arch_set_vcpu_context
from kernel.domain.vcpu_info import register_vcpu_info
from kernel.entry.nmi import send_guest_nmi
from kernel.evtchn.channel import domain_vcpu
from kernel.sched.runstate import current_runstate
from kernel.sched.time import MAX_DELTA_NS, NS_PER_MS, copy_vcpu_time, set_period
from kernel.sched.timer_heap import set_timer, stop_timer
from kernel.sched.wake import vcpu_sleep_nosync, vcpu_wake
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu, VPF_down


@hypercall(abi.__HYPERVISOR_vcpu_op)
def do_vcpu_op(vcpu: Ptr[Vcpu], cmd: u64, vcpu_id: u64, arg: u64, d: u64, e: u64) -> i64:
    """Serve one operation on a vCPU of the caller's domain.

    Hypercall: vcpu_op(cmd: VCPUOP_*, vcpu_id, arg: its structure in the guest).
    Errors: -ENOENT, no such vCPU; -ENOSYS, no such operation; -EFAULT, the structure; and those of
    the operation.
    """
    target = domain_vcpu(vcpu.domain, truncate(u32, vcpu_id))
    if target is None:
        return -abi.ENOENT
    result = serve_vcpu_op(vcpu, target, cmd, arg)
    if result == -abi.ERESTART:
        return hypercall_continue(vcpu, cmd, vcpu_id, arg, 0)
    return result


def serve_vcpu_op(vcpu: Ptr[Vcpu], target: Ptr[Vcpu], cmd: u64, arg: u64) -> i64:
    """Serve the operations on the life of a vCPU, and find the others."""
    match truncate(u32, cmd):
        case abi.VCPUOP_initialise:
            return vcpu_initialise(target, Guest[abi.vcpu_guest_context](arg))
        case abi.VCPUOP_up:
            return vcpu_up(target)
        case abi.VCPUOP_down:
            return vcpu_down(vcpu.domain, target)
        case abi.VCPUOP_is_up:
            return 0 if atomic_load(ref(target.pause_flags)) & VPF_down else 1
        case abi.VCPUOP_send_nmi:
            require(arg == 0, -abi.EINVAL)
            send_guest_nmi(target)
            return 0
        case abi.VCPUOP_get_physid:
            return -abi.EINVAL  # only for vCPUs that are pinned for good, which none here is
        case _:
            return memory_or_timer_op(vcpu, target, truncate(u32, cmd), arg)


def memory_or_timer_op(caller: Ptr[Vcpu], v: Ptr[Vcpu], cmd: u32, arg: u64) -> i64:
    """Serve the operations that share memory with the guest, or set timers."""
    match cmd:
        case abi.VCPUOP_get_runstate_info:
            runstate = current_runstate(v)
            return (
                0
                if copy_to_guest(Guest[abi.vcpu_runstate_info](arg), ref(runstate))
                else -abi.EFAULT
            )
        case abi.VCPUOP_register_runstate_memory_area:
            return register_runstate_area(v, Guest[abi.vcpu_register_runstate_memory_area](arg))
        case abi.VCPUOP_register_vcpu_info:
            return decode_register_vcpu_info(caller, v, Guest[abi.vcpu_register_vcpu_info](arg))
        case abi.VCPUOP_register_vcpu_time_memory_area:
            return register_time_area(v, Guest[abi.vcpu_register_time_memory_area](arg))
        case abi.VCPUOP_set_periodic_timer:
            return set_periodic_timer(v, Guest[abi.vcpu_set_periodic_timer](arg))
        case abi.VCPUOP_stop_periodic_timer:
            set_period(v, 0)
            return 0
        case abi.VCPUOP_set_singleshot_timer:
            require(caller == v, -abi.EINVAL)
            return set_singleshot_timer(v, Guest[abi.vcpu_set_singleshot_timer](arg))
        case abi.VCPUOP_stop_singleshot_timer:
            require(caller == v, -abi.EINVAL)
            stop_timer(ref(v.singleshot_timer))
            return 0
        case _:
            return -abi.ENOSYS


def vcpu_initialise(v: Ptr[Vcpu], arg: Guest[abi.vcpu_guest_context]) -> i64:
    """Give a vCPU its first registers.

    Errors: -EFAULT; -EEXIST, it has them; -EINVAL, impossible registers; -ERESTART, its page tables
    are not all validated yet.
    """
    context = uninitialized(abi.vcpu_guest_context)
    require(copy_from_guest(ref(context), arg), -abi.EFAULT)
    with v.domain.lock:
        if v.initialised:
            return -abi.EEXIST
        return arch_set_vcpu_context(v, ref(context))


def vcpu_up(v: Ptr[Vcpu]) -> i64:
    """Let a vCPU run. Errors: -EINVAL, it has no registers yet."""
    with v.domain.lock:
        if not v.initialised:
            return -abi.EINVAL
        was_down = atomic_and(ref(v.pause_flags), ~VPF_down) & VPF_down != 0
    if was_down:
        vcpu_wake(v)
    return 0


def vcpu_down(d: Ptr[Domain], v: Ptr[Vcpu]) -> i64:
    """Stop a vCPU. When the last one goes, the domain has powered off."""
    others_up: u32 = 0
    for i in range(d.max_vcpus):
        other = d.vcpus[i]
        if other is not None and other != v and atomic_load(ref(other.pause_flags)) & VPF_down == 0:
            others_up += 1
    if others_up == 0:
        return domain_shutdown(d, abi.SHUTDOWN_poweroff)
    if atomic_or(ref(v.pause_flags), VPF_down) & VPF_down == 0:
        vcpu_sleep_nosync(v)
    return 0


def register_runstate_area(v: Ptr[Vcpu], arg: Guest[abi.vcpu_register_runstate_memory_area]) -> i64:
    """Note where the guest wants its runstate copied, and copy it once.

    The address need not be mapped yet.

    Errors: -EFAULT, also for an area that reaches into the core.
    """
    area = uninitialized(abi.vcpu_register_runstate_memory_area)
    require(copy_from_guest(ref(area), arg), -abi.EFAULT)
    to = area.addr.h
    require(guest_array_okay(to, 1), -abi.EFAULT)
    v.sched.runstate_area = to.address()
    runstate = current_runstate(v)
    copy_to_guest(to, ref(runstate))
    return 0


def register_time_area(v: Ptr[Vcpu], arg: Guest[abi.vcpu_register_time_memory_area]) -> i64:
    """Write a second copy of a vCPU's vcpu_time_info. It never changes, so once is enough.

    Errors: -EFAULT, also for an area that reaches into the core.
    """
    area = uninitialized(abi.vcpu_register_time_memory_area)
    require(copy_from_guest(ref(area), arg), -abi.EFAULT)
    to = area.addr.h
    require(guest_array_okay(to, 1), -abi.EFAULT)
    if to.address() != 0:
        copy_vcpu_time(v, to)
    return 0


def decode_register_vcpu_info(
    caller: Ptr[Vcpu], v: Ptr[Vcpu], arg: Guest[abi.vcpu_register_vcpu_info]
) -> i64:
    """Decode VCPUOP_register_vcpu_info. Errors: -EFAULT."""
    op = uninitialized(abi.vcpu_register_vcpu_info)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    with v.domain.lock:
        return register_vcpu_info(caller, v, op.mfn, op.offset)


def set_periodic_timer(v: Ptr[Vcpu], arg: Guest[abi.vcpu_set_periodic_timer]) -> i64:
    """Set the periodic timer.

    Errors: -EFAULT; -EINVAL, a period below 1 ms or beyond all reason.
    """
    op = uninitialized(abi.vcpu_set_periodic_timer)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    require(NS_PER_MS <= op.period_ns <= MAX_DELTA_NS, -abi.EINVAL)
    set_period(v, op.period_ns)
    return 0


def set_singleshot_timer(v: Ptr[Vcpu], arg: Guest[abi.vcpu_set_singleshot_timer]) -> i64:
    """Set the one-shot timer; one in the past fires at once. Errors: -EFAULT.

    VCPU_SSHOTTMR_future asks for -ETIME then, but Xen has stopped to honour it, and so do we.
    """
    op = uninitialized(abi.vcpu_set_singleshot_timer)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    set_timer(ref(v.singleshot_timer), op.timeout_abs_ns)
    return 0
