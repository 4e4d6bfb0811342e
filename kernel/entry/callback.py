"""Hypercalls by which a guest kernel names its entry points: traps, events, system calls, failsafe,
NMI.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Tainted,
    i64,
    ref,
    require,
    static,
    u16,
    u32,
    u64,
    uninitialized,
    zero,
)

from kernel.base.guest_memory import copy_from_guest
from kernel.base.operation import Operation, call_operation
from kernel.base.registry import hypercall, operations
from kernel.entry.bounce import SYSCALL32_DISABLES_EVENTS, SYSENTER_DISABLES_EVENTS
from kernel.entry.nmi import register_nmi_callback, unregister_nmi_callback
from kernel.state.continuation import hypercall_continue
from kernel.state.vcpu import Vcpu
from kernel.x86.canonical import is_canonical
from kernel.x86.preempt import preempt_pending

RPL_USER = 3
ENTRIES_AT_ONCE = 64

callback_op, callback_ops = operations("callback operation")
callbacks = static(Array[Operation | None, abi.CALLBACKOP_unregister + 1], callback_ops)


@hypercall(abi.__HYPERVISOR_set_trap_table)
def do_set_trap_table(
    vcpu: Ptr[Vcpu],
    traps: Guest[abi.trap_info],
    b: Tainted[u64],
    c: Tainted[u64],
    d: Tainted[u64],
) -> i64:
    """Set handlers of exceptions and software interrupts.

    Hypercall: set_trap_table(traps: trap_info[] in the guest, ended by address 0; null clears the
    table).
    Errors: -EFAULT, an entry can't be read; -EINVAL, a handler's address is not canonical.
    """
    if traps.address() == 0:
        zero(vcpu.trap_table)
        return 0
    entry = uninitialized(Tainted[abi.trap_info])
    here = traps
    while True:
        for _ in range(ENTRIES_AT_ONCE):
            require(copy_from_guest(ref(entry), here), -abi.EFAULT)
            if entry.address == 0:
                return 0
            require(is_canonical(entry.address), -abi.EINVAL)
            entry.cs |= RPL_USER
            vcpu.trap_table[entry.vector] = entry
            here = here.index(1)
        if preempt_pending():
            return hypercall_continue(vcpu, here.address(), b, c, d)


@hypercall(abi.__HYPERVISOR_set_callbacks)
def do_set_callbacks(
    vcpu: Ptr[Vcpu], event: Tainted[u64], failsafe: Tainted[u64], syscall: Tainted[u64]
) -> i64:
    """Set the event, failsafe and system call callbacks at once.

    Hypercall: set_callbacks(event, failsafe, syscall: addresses). Returns: 0; one that is not
    canonical is left as it was, as on Xen.
    """
    register_callback(vcpu, abi.CALLBACKTYPE_event, 0, event)
    register_callback(vcpu, abi.CALLBACKTYPE_failsafe, 0, failsafe)
    register_callback(vcpu, abi.CALLBACKTYPE_syscall, 0, syscall)
    return 0


@hypercall(abi.__HYPERVISOR_callback_op)
def do_callback_op(vcpu: Ptr[Vcpu], command: Tainted[u32], arg: Tainted[u64]) -> i64:
    """Register or unregister one callback.

    Hypercall: callback_op(command, arg: callback_register or callback_unregister).
    Errors: -EFAULT; -ENOSYS, no such command or type; -EINVAL, not canonical, or can't be
    unregistered.
    """
    return call_operation(ref(callbacks), vcpu, command, arg)


@callback_op(abi.CALLBACKOP_register)
def callback_register(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.callback_register]]) -> i64:
    """Set the entry point of one kind of callback."""
    return register_callback(caller, op.type, op.flags, op.address)


def register_callback(
    vcpu: Ptr[Vcpu], kind: Tainted[u16], flags: Tainted[u16], address: Tainted[u64]
) -> i64:
    """Set the entry point of one kind of callback (CALLBACKTYPE_*)."""
    require(is_canonical(address), -abi.EINVAL)
    mask_events = flags & abi.CALLBACKF_mask_events != 0
    match kind:
        case abi.CALLBACKTYPE_event:
            vcpu.event_callback_eip = address
        case abi.CALLBACKTYPE_failsafe:
            vcpu.failsafe_callback_eip = address
            set_mask_flag(vcpu, abi.VGCF_failsafe_disables_events, mask_events)
        case abi.CALLBACKTYPE_syscall:
            vcpu.syscall_callback_eip = address
            set_mask_flag(vcpu, abi.VGCF_syscall_disables_events, mask_events)
        case abi.CALLBACKTYPE_syscall32:
            vcpu.syscall32_callback_eip = address
            set_mask_flag(vcpu, SYSCALL32_DISABLES_EVENTS, mask_events)
        case abi.CALLBACKTYPE_sysenter:
            vcpu.sysenter_callback_eip = address
            set_mask_flag(vcpu, SYSENTER_DISABLES_EVENTS, mask_events)
        case abi.CALLBACKTYPE_nmi:
            return register_nmi_callback(vcpu, address)
        case _:
            return -abi.ENOSYS
    return 0


@callback_op(abi.CALLBACKOP_unregister)
def callback_unregister(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.callback_unregister]]) -> i64:
    """Drop a callback: only that of NMIs can be."""
    match op.type:
        case abi.CALLBACKTYPE_nmi:
            return unregister_nmi_callback(caller)
        case (
            abi.CALLBACKTYPE_event
            | abi.CALLBACKTYPE_failsafe
            | abi.CALLBACKTYPE_syscall
            | abi.CALLBACKTYPE_syscall32
            | abi.CALLBACKTYPE_sysenter
        ):
            return -abi.EINVAL
        case _:
            return -abi.ENOSYS


def set_mask_flag(vcpu: Ptr[Vcpu], flag: u64, on: bool) -> None:
    """Remember whether a callback begins with events masked."""
    if on:
        vcpu.callback_flags |= flag
    else:
        vcpu.callback_flags &= ~flag
