"""Hypercalls: one function each, named as the ABI names them. The assembly in start.asm makes the
call.

A negative result is an error number of abi, negated. Structures are given by address; they must lie
in mapped memory.
"""

import abi
from kpy import Ptr, TypeVar, extern, i64, ref, u32, u64

T = TypeVar("T")


@extern
def hypercall(number: u64, a: u64, b: u64, c: u64, d: u64, e: u64) -> i64: ...


def mmu_update(updates: u64, count: u64) -> i64:
    """Change page-table entries. Args: updates: abi.mmu_update[count]."""
    return hypercall(abi.__HYPERVISOR_mmu_update, updates, count, 0, abi.DOMID_SELF, 0)


def update_va_mapping(address: u64, entry: u64, flags: u64) -> i64:
    """Set the page-table entry that maps an address. Args: flags: abi.UVMF_."""
    return hypercall(abi.__HYPERVISOR_update_va_mapping, address, entry, flags, 0, 0)


def set_trap_table(table: u64) -> i64:
    """Register trap handlers. Args: table: abi.trap_info[], ended by address 0."""
    return hypercall(abi.__HYPERVISOR_set_trap_table, table, 0, 0, 0, 0)


def set_callbacks(event: u64, failsafe: u64) -> i64:
    """Register where the hypervisor enters the kernel for events, and when an iret fails."""
    return hypercall(abi.__HYPERVISOR_set_callbacks, event, failsafe, 0, 0, 0)


def console_io(text: u64, count: u64) -> i64:
    """Write to the machine's console: for the initial domain only."""
    return hypercall(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, count, text, 0, 0)


def set_timer_op(deadline_ns: u64) -> i64:
    """Have VIRQ_TIMER raised when system time reaches the deadline."""
    return hypercall(abi.__HYPERVISOR_set_timer_op, deadline_ns, 0, 0, 0, 0)


def xen_version() -> i64:
    """Return the hypervisor's version; also a cheap way to have pending events delivered."""
    return hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_version, 0, 0, 0, 0)


def event_channel_op(command: u64, argument: Ptr[T]) -> i64:
    """Args: argument: the abi.evtchn_ structure named like the command."""
    return hypercall(abi.__HYPERVISOR_event_channel_op, command, u64(argument), 0, 0, 0)


def grant_table_op(command: u64, argument: Ptr[T]) -> i64:
    """Args: argument: one abi.gnttab_ structure named like the command."""
    return hypercall(abi.__HYPERVISOR_grant_table_op, command, u64(argument), 1, 0, 0)


def sched_block() -> i64:
    """Unmask events and sleep until one is pending: in one step, so that none is missed."""
    return hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_block, 0, 0, 0, 0)


def sched_yield() -> i64:
    return hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_yield, 0, 0, 0, 0)


def sched_shutdown(reason: u32) -> i64:
    """End the domain. Args: reason: abi.SHUTDOWN_."""
    argument = abi.sched_shutdown(reason=reason)
    return hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_shutdown, u64(ref(argument)), 0, 0, 0)
