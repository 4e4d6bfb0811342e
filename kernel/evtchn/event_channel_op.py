"""The event_channel_op hypercall: dispatch. The operations are in the modules beside this one."""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Tainted,
    i64,
    offsetof,
    ref,
    require,
    static,
    u32,
    u64,
    wrapping_add,
)

import kernel.evtchn.bind
import kernel.evtchn.channel
import kernel.evtchn.close  # noqa: F401  these three register their operations
from kernel.base.guest_memory import copy_from_guest
from kernel.base.operation import Operation, call_operation
from kernel.base.registry import hypercall
from kernel.evtchn.operations import event_channel_ops
from kernel.state.vcpu import Vcpu

LAST_COMPAT_OP = abi.EVTCHNOP_unmask

operations = static(Array[Operation | None, abi.EVTCHNOP_reset + 1], event_channel_ops)


@hypercall(abi.__HYPERVISOR_event_channel_op)
def do_event_channel_op(vcpu: Ptr[Vcpu], cmd: Tainted[u32], arg: Tainted[u64]) -> i64:
    """Serve one operation on event channels.

    Hypercall: event_channel_op(cmd: EVTCHNOP_*, arg: its structure in the guest).
    Errors: -EFAULT, the structure; -ENOSYS, no such operation, which the FIFO operations are:
    guests fall back to the two-level ABI; and those of the operation.
    """
    return call_operation(ref(operations), vcpu, cmd, arg)


@hypercall(abi.__HYPERVISOR_event_channel_op_compat)
def do_event_channel_op_compat(vcpu: Ptr[Vcpu], op: Guest[abi.evtchn_op]) -> i64:
    """Serve the hypercall's oldest form, with the number of the operation in the structure.

    Errors: -EFAULT, the structure; -ENOSYS, an operation younger than this form.
    """
    cmd: Tainted[u32] = 0
    require(copy_from_guest(ref(cmd), op.cast(u32)), -abi.EFAULT)
    require(cmd <= LAST_COMPAT_OP, -abi.ENOSYS)
    arg = wrapping_add(op.address(), offsetof(abi.evtchn_op, "u"))
    return call_operation(ref(operations), vcpu, cmd, arg)
