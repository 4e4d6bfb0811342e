"""The event_channel_op hypercall: arguments in, permission checked, result out.

The operations are in the modules beside this one.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    i64,
    offsetof,
    ref,
    require,
    truncate,
    u32,
    u64,
    uninitialized,
    wrapping_add,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import DomId
from kernel.base.registry import hypercall
from kernel.evtchn.bind import (
    alloc_unbound_port,
    evtchn_bind_interdomain,
    evtchn_bind_ipi,
    evtchn_bind_pirq,
    evtchn_bind_vcpu,
    evtchn_bind_virq,
)
from kernel.evtchn.channel import evtchn_send, evtchn_status, evtchn_unmask
from kernel.evtchn.close import evtchn_close, evtchn_reset
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import get_domain_or_self, put_domain
from kernel.state.vcpu import Vcpu

LAST_COMPAT_OP = abi.EVTCHNOP_unmask


@hypercall(abi.__HYPERVISOR_event_channel_op)
def do_event_channel_op(vcpu: Ptr[Vcpu], cmd: u64, arg: u64, c: u64, d: u64, e: u64) -> i64:
    """Serve one operation on event channels.

    Hypercall: event_channel_op(cmd: EVTCHNOP_*, arg: its structure in the guest).
    Errors: -EFAULT, the structure; -ENOSYS, no such operation, which the FIFO operations are:
    guests fall back to the two-level ABI; and those of the operation.
    """
    match truncate(u32, cmd):
        case abi.EVTCHNOP_send:
            return op_send(vcpu, Guest[abi.evtchn_send](arg))
        case abi.EVTCHNOP_unmask:
            return op_unmask(vcpu, Guest[abi.evtchn_unmask](arg))
        case abi.EVTCHNOP_alloc_unbound:
            return op_alloc_unbound(vcpu, Guest[abi.evtchn_alloc_unbound](arg))
        case abi.EVTCHNOP_bind_interdomain:
            return op_bind_interdomain(vcpu, Guest[abi.evtchn_bind_interdomain](arg))
        case abi.EVTCHNOP_bind_virq:
            return op_bind_virq(vcpu, Guest[abi.evtchn_bind_virq](arg))
        case abi.EVTCHNOP_bind_ipi:
            return op_bind_ipi(vcpu, Guest[abi.evtchn_bind_ipi](arg))
        case abi.EVTCHNOP_bind_pirq:
            return op_bind_pirq(vcpu, Guest[abi.evtchn_bind_pirq](arg))
        case abi.EVTCHNOP_bind_vcpu:
            return op_bind_vcpu(vcpu, Guest[abi.evtchn_bind_vcpu](arg))
        case abi.EVTCHNOP_close:
            return op_close(vcpu, Guest[abi.evtchn_close](arg))
        case abi.EVTCHNOP_status:
            return op_status(vcpu, Guest[abi.evtchn_status](arg))
        case abi.EVTCHNOP_reset:
            return op_reset(vcpu, Guest[abi.evtchn_reset](arg))
        case _:
            return -abi.ENOSYS


@hypercall(abi.__HYPERVISOR_event_channel_op_compat)
def do_event_channel_op_compat(
    vcpu: Ptr[Vcpu], address: u64, b: u64, c: u64, d: u64, e: u64
) -> i64:
    """Serve the hypercall's oldest form, with the number of the operation in the structure.

    Errors: -EFAULT, the structure; -ENOSYS, an operation younger than this form.
    """
    cmd: u32 = 0
    if not copy_from_guest(ref(cmd), Guest[u32](address)):
        return -abi.EFAULT
    if cmd > LAST_COMPAT_OP:
        return -abi.ENOSYS
    return do_event_channel_op(
        vcpu, u64(cmd), wrapping_add(address, offsetof(abi.evtchn_op, "u")), 0, 0, 0
    )


def op_send(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_send]) -> i64:
    """Decode EVTCHNOP_send."""
    op = uninitialized(abi.evtchn_send)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    return evtchn_send(vcpu.domain, op.port)


def op_unmask(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_unmask]) -> i64:
    """Decode EVTCHNOP_unmask."""
    op = uninitialized(abi.evtchn_unmask)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    return evtchn_unmask(vcpu.domain, op.port)


def op_alloc_unbound(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_alloc_unbound]) -> i64:
    """Decode EVTCHNOP_alloc_unbound.

    Errors: -ESRCH, no such domain; -EPERM, not the caller's own.
    """
    op = uninitialized(abi.evtchn_alloc_unbound)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    d = get_domain_or_self(vcpu.domain, op.dom)
    if d is None:
        return -abi.ESRCH
    remote = vcpu.domain.domain_id if op.remote_dom == abi.DOMID_SELF else DomId(op.remote_dom)
    port = -abi.EPERM
    if d == vcpu.domain or vcpu.domain.is_privileged:
        port = alloc_unbound_port(d, remote)
    put_domain(d)
    require(port >= 0, port)
    op.port = u32(port)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def op_bind_interdomain(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_bind_interdomain]) -> i64:
    """Decode EVTCHNOP_bind_interdomain. Errors: -ESRCH, no such domain."""
    op = uninitialized(abi.evtchn_bind_interdomain)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    far = get_domain_or_self(vcpu.domain, op.remote_dom)
    if far is None:
        return -abi.ESRCH
    port = evtchn_bind_interdomain(vcpu.domain, far, op.remote_port)
    put_domain(far)
    require(port >= 0, port)
    op.local_port = u32(port)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def op_bind_virq(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_bind_virq]) -> i64:
    """Decode EVTCHNOP_bind_virq."""
    op = uninitialized(abi.evtchn_bind_virq)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    port = evtchn_bind_virq(vcpu.domain, op.virq, op.vcpu)
    require(port >= 0, port)
    op.port = u32(port)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def op_bind_ipi(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_bind_ipi]) -> i64:
    """Decode EVTCHNOP_bind_ipi."""
    op = uninitialized(abi.evtchn_bind_ipi)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    port = evtchn_bind_ipi(vcpu.domain, op.vcpu)
    require(port >= 0, port)
    op.port = u32(port)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def op_bind_pirq(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_bind_pirq]) -> i64:
    """Decode EVTCHNOP_bind_pirq."""
    op = uninitialized(abi.evtchn_bind_pirq)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    port = evtchn_bind_pirq(vcpu.domain, op.pirq)
    require(port >= 0, port)
    op.port = u32(port)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def op_bind_vcpu(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_bind_vcpu]) -> i64:
    """Decode EVTCHNOP_bind_vcpu."""
    op = uninitialized(abi.evtchn_bind_vcpu)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    return evtchn_bind_vcpu(vcpu.domain, op.port, op.vcpu)


def op_close(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_close]) -> i64:
    """Decode EVTCHNOP_close."""
    op = uninitialized(abi.evtchn_close)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    return evtchn_close(vcpu.domain, op.port)


def op_status(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_status]) -> i64:
    """Decode EVTCHNOP_status. Errors: -ESRCH, no such domain; -EPERM, not the caller's own."""
    op = uninitialized(abi.evtchn_status)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    d = get_domain_or_self(vcpu.domain, op.dom)
    if d is None:
        return -abi.ESRCH
    result = evtchn_status(d, ref(op))
    if result == 0 and d != vcpu.domain and not vcpu.domain.is_privileged:
        result = -abi.EPERM
    put_domain(d)
    require(result == 0, result)
    return 0 if copy_to_guest(arg, ref(op)) else -abi.EFAULT


def op_reset(vcpu: Ptr[Vcpu], arg: Guest[abi.evtchn_reset]) -> i64:
    """Decode EVTCHNOP_reset. Errors: -ESRCH, no such domain."""
    op = uninitialized(abi.evtchn_reset)
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    d = get_domain_or_self(vcpu.domain, op.dom)
    if d is None:
        return -abi.ESRCH
    result = evtchn_reset(vcpu.domain, d)
    put_domain(d)
    if result == -abi.ERESTART:
        return hypercall_continue(vcpu, abi.EVTCHNOP_reset, arg.address(), 0, 0)
    return result
