"""The vcpu_op hypercall: what a guest may do with its vCPUs."""

import abi
from kpy import (
    Array,
    Fn,
    Guest,
    Ptr,
    Result,
    Tainted,
    atomic_and,
    atomic_load,
    atomic_or,
    i64,
    ref,
    require,
    static,
    trusted,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.registry import hypercall
from kernel.domain.shutdown import domain_shutdown
from kernel.domain.vcpu_context import arch_set_vcpu_context
from kernel.domain.vcpu_info import register_vcpu_info
from kernel.domain.vcpu_operations import vcpu_op, vcpu_ops
from kernel.entry.nmi import send_guest_nmi
from kernel.evtchn.channel import domain_vcpu
from kernel.sched.runstate import current_runstate
from kernel.sched.time import MAX_DELTA_NS, NS_PER_MS, copy_vcpu_time, set_period
from kernel.sched.timer_heap import set_timer, stop_timer
from kernel.sched.wake import vcpu_sleep_nosync, vcpu_wake
from kernel.state.continuation import hypercall_continue
from kernel.state.vcpu import Vcpu, VPF_down

VcpuOperation = Fn[[Ptr[Vcpu], Ptr[Vcpu], Tainted[u64]], i64]
operations = static(
    Array[VcpuOperation | None, abi.VCPUOP_register_vcpu_time_memory_area + 1], vcpu_ops
)


@hypercall(abi.__HYPERVISOR_vcpu_op)
def do_vcpu_op(vcpu: Ptr[Vcpu], cmd: Tainted[u32], vcpu_id: Tainted[u32], arg: Tainted[u64]) -> i64:
    """Serve one operation on a vCPU of the caller's domain.

    Hypercall: vcpu_op(cmd: VCPUOP_*, vcpu_id, arg: its structure in the guest).
    Errors: -ENOENT, no such vCPU; -ENOSYS, no such operation; -EFAULT, the structure; and those of
    the operation.
    """
    target = domain_vcpu(vcpu.domain, vcpu_id)
    require(target is not None, -abi.ENOENT)
    require(cmd < len(operations), -abi.ENOSYS)
    operation = operations[cmd]
    require(operation is not None, -abi.ENOSYS)
    result = operation(vcpu, target, arg)
    if result == -abi.ERESTART:
        return hypercall_continue(vcpu, u64(cmd), u64(target.vcpu_id), arg, 0)
    return result


@vcpu_op(abi.VCPUOP_initialise)
def vcpu_initialise(v: Ptr[Vcpu], context: Ptr[Tainted[abi.vcpu_guest_context]]) -> i64:
    """Give a vCPU its first registers.

    Errors: -EFAULT; -EEXIST, it has them; -EINVAL, impossible registers; -ERESTART, its page tables
    are not all validated yet.
    """
    with v.domain.lock:
        require(not v.initialised, -abi.EEXIST)
        return arch_set_vcpu_context(v, context)


@vcpu_op(abi.VCPUOP_up)
def vcpu_up(v: Ptr[Vcpu]) -> Result[None]:
    """Let a vCPU run. Errors: -EINVAL, it has no registers yet."""
    with v.domain.lock:
        require(v.initialised, -abi.EINVAL)
        was_down = atomic_and(ref(v.pause_flags), ~VPF_down) & VPF_down != 0
    if was_down:
        vcpu_wake(v)


@vcpu_op(abi.VCPUOP_down)
def vcpu_down(v: Ptr[Vcpu]) -> i64:
    """Stop a vCPU. When the last one goes, the domain has powered off."""
    d = v.domain
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


@vcpu_op(abi.VCPUOP_is_up)
def vcpu_is_up(v: Ptr[Vcpu]) -> i64:
    """Tell whether a vCPU may run."""
    return 0 if atomic_load(ref(v.pause_flags)) & VPF_down else 1


@vcpu_op(abi.VCPUOP_send_nmi)
def vcpu_send_nmi(v: Ptr[Vcpu], arg: Tainted[u64]) -> Result[None]:
    """Give a vCPU a non-maskable interrupt. Errors: -EINVAL, a structure."""
    require(arg == 0, -abi.EINVAL)
    send_guest_nmi(v)


@vcpu_op(abi.VCPUOP_get_physid)
def vcpu_get_physid(v: Ptr[Vcpu]) -> i64:
    """Refuse: only vCPUs that are pinned for good have one processor, and none here is."""
    return -abi.EINVAL


@vcpu_op(abi.VCPUOP_get_runstate_info)
def vcpu_get_runstate_info(v: Ptr[Vcpu], to: Guest[abi.vcpu_runstate_info]) -> Result[None]:
    """Tell how long a vCPU was in which state. Errors: -EFAULT."""
    runstate = current_runstate(v)
    require(copy_to_guest(to, ref(runstate)), -abi.EFAULT)


@vcpu_op(abi.VCPUOP_register_runstate_memory_area)
def vcpu_register_runstate_memory_area(
    v: Ptr[Vcpu], area: Ptr[Tainted[abi.vcpu_register_runstate_memory_area]]
) -> Result[None]:
    """Note where the guest wants its runstate copied, and copy it once.

    The address need not be mapped yet.

    Errors: -EFAULT, also for an area that reaches into the core.
    """
    to = area.addr.h
    require(guest_array_okay(to, 1), -abi.EFAULT)
    v.sched.runstate_area = to.address()
    runstate = current_runstate(v)
    copy_to_guest(to, ref(runstate))


@vcpu_op(abi.VCPUOP_register_vcpu_time_memory_area)
def vcpu_register_time_memory_area(
    v: Ptr[Vcpu], area: Ptr[Tainted[abi.vcpu_register_time_memory_area]]
) -> Result[None]:
    """Write a second copy of a vCPU's vcpu_time_info. It never changes, so once is enough.

    Errors: -EFAULT, also for an area that reaches into the core.
    """
    to = area.addr.h
    require(guest_array_okay(to, 1), -abi.EFAULT)
    if to.address() != 0:
        copy_vcpu_time(v, to)


@vcpu_op(abi.VCPUOP_register_vcpu_info)
def vcpu_register_vcpu_info(
    caller: Ptr[Vcpu], v: Ptr[Vcpu], op: Ptr[Tainted[abi.vcpu_register_vcpu_info]]
) -> i64:
    """Move a vCPU's vcpu_info, for good. Errors: those of `register_vcpu_info`."""
    with v.domain.lock:
        return register_vcpu_info(caller, v, op.mfn, op.offset)


@vcpu_op(abi.VCPUOP_set_periodic_timer)
def vcpu_set_periodic_timer(
    v: Ptr[Vcpu], op: Ptr[Tainted[abi.vcpu_set_periodic_timer]]
) -> Result[None]:
    """Set the periodic timer. Errors: -EINVAL, a period below 1 ms or beyond all reason."""
    require(NS_PER_MS <= op.period_ns <= MAX_DELTA_NS, -abi.EINVAL)
    set_period(v, op.period_ns)


@vcpu_op(abi.VCPUOP_stop_periodic_timer)
def vcpu_stop_periodic_timer(v: Ptr[Vcpu]) -> Result[None]:
    """Stop the periodic timer."""
    set_period(v, 0)


@vcpu_op(abi.VCPUOP_set_singleshot_timer)
def vcpu_set_singleshot_timer(
    caller: Ptr[Vcpu], v: Ptr[Vcpu], arg: Guest[abi.vcpu_set_singleshot_timer]
) -> Result[None]:
    """Set the one-shot timer; one in the past fires at once.

    VCPU_SSHOTTMR_future asks for -ETIME then, but Xen has stopped to honour it, and so do we.

    Errors: -EINVAL, another vCPU's, whatever the structure; -EFAULT.
    """
    require(caller == v, -abi.EINVAL)
    op = uninitialized(Tainted[abi.vcpu_set_singleshot_timer])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    set_timer(ref(v.singleshot_timer), trusted(op.timeout_abs_ns))  # any time will do


@vcpu_op(abi.VCPUOP_stop_singleshot_timer)
def vcpu_stop_singleshot_timer(caller: Ptr[Vcpu], v: Ptr[Vcpu]) -> Result[None]:
    """Stop the one-shot timer. Errors: -EINVAL, another vCPU's."""
    require(caller == v, -abi.EINVAL)
    stop_timer(ref(v.singleshot_timer))
