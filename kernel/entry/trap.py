"""Exceptions of guests: repaired by the core, emulated, or bounced to the guest kernel.

The core repairs page faults that it caused itself (write-protected page tables, lazily mapped
descriptor tables), emulates privileged instructions of a guest kernel, and hands everything else to
the kernel's own handler. What no handler takes ends the domain, never the core.
"""

import abi
from kpy import Ptr, cold, export, inline, noinline, u32, wrapping_sub

from kernel.emulate.invalid_op import emulate_forced
from kernel.emulate.page_fault import page_fault_fixup
from kernel.emulate.privop import emulate_privileged
from kernel.emulate.softint import deliver_int80, deliver_software_interrupt, software_vector
from kernel.entry.bounce import bounce_syscall32, deliver_page_fault, deliver_trap
from kernel.entry.exit import exit_to_guest
from kernel.panic.debugger import debugger_takes
from kernel.state.trace_ring import HEADER_1, HEADER_3
from kernel.state.vcpu import Vcpu
from kernel.trace.record import record_1, tracing
from kernel.trace.wide import record_page_fault, record_value_1, trace_value
from kernel.x86.cpu import read_cr2, read_dr6, write_dr6
from kernel.x86.descriptors import GUEST_INT80_VECTOR
from kernel.x86.fpu import fpu_set_ts
from kernel.x86.vectors import (
    DR6_EVENTS,
    XEC_EXT,
    XEC_IDT,
    XEC_INDEX_SHIFT,
    TRAP_debug,
    TRAP_gp_fault,
    TRAP_invalid_op,
    TRAP_no_device,
    TRAP_page_fault,
)

SYSCALL_BYTES = 2


@export
def trap_from_guest(vcpu: Ptr[Vcpu], vector: u32) -> Ptr[Vcpu]:
    """Handle an exception that a guest raised.

    Returns: the vCPU to run next. Context: from entry.asm.
    """
    if tracing(abi.TRC_PV_TRAP):
        handle_traced(vcpu, vector)
    else:
        handle(vcpu, vector)
    return exit_to_guest(vcpu)


@inline
def handle(vcpu: Ptr[Vcpu], vector: u32) -> None:
    """Repair, emulate or bounce an exception."""
    if vector == TRAP_page_fault:
        page_fault(vcpu)
    elif vector == TRAP_gp_fault:
        general_protection(vcpu)
    else:
        other_exception(vcpu, vector)


@cold
def handle_traced(vcpu: Ptr[Vcpu], vector: u32) -> None:
    """Handle an exception, and record when that began and ended."""
    rip = vcpu.regs.rip
    error_code = vcpu.regs.error_code
    if vector == TRAP_page_fault:
        record_page_fault(rip, read_cr2(), error_code)
    else:
        word = vector | (error_code & 0xFFFF) << 16
        record_value_1(abi.TRC_PV_TRAP | abi.TRC_64_FLAG | HEADER_3, rip, word)
    handle(vcpu, vector)
    record_1(abi.TRC_PROXEN_TRAP_RETURN | HEADER_1, vector)


@export
def syscall32_from_guest(vcpu: Ptr[Vcpu]) -> Ptr[Vcpu]:
    """Serve `syscall` from 32-bit guest user code, or raise #UD for a kernel that does not.

    Context: from entry.asm.
    """
    if vcpu.syscall32_callback_eip != 0:
        bounce_syscall32(vcpu)
    else:
        vcpu.regs.rip = wrapping_sub(vcpu.regs.rip, SYSCALL_BYTES)
        deliver_trap(vcpu, TRAP_invalid_op, 0)
    return exit_to_guest(vcpu)


@export
def iret_fault(vcpu: Ptr[Vcpu], vector: u32) -> Ptr[Vcpu]:
    """Handle a register frame that `iretq` could not load: the guest kernel gets the fault, as if
    the frame had been running.

    Only a page of the LDT that was not mapped yet is the core's business.
    """
    error_code = vcpu.regs.error_code
    if vector == TRAP_page_fault:
        if not page_fault_fixup(vcpu, read_cr2(), error_code):
            deliver_trap(vcpu, TRAP_gp_fault, 0)
    else:
        deliver_trap(vcpu, vector, error_code)
    return exit_to_guest(vcpu)


def page_fault(vcpu: Ptr[Vcpu]) -> None:
    """Repair a page fault, or let the guest kernel do it."""
    address = read_cr2()  # before anything that could fault again
    error_code = vcpu.regs.error_code
    if not page_fault_fixup(vcpu, address, error_code):
        deliver_page_fault(vcpu, address, error_code)


def general_protection(vcpu: Ptr[Vcpu]) -> None:
    """Emulate what ring 0 could do: `int n` by the trap table, privileged instructions."""
    error_code = vcpu.regs.error_code
    if error_code & XEC_EXT == 0:
        if error_code & XEC_IDT:
            vector = software_vector(vcpu, error_code)
            if not deliver_software_interrupt(vcpu, vector):
                deliver_trap(vcpu, TRAP_gp_fault, u32(vector) << XEC_INDEX_SHIFT | XEC_IDT)
            return
        elif error_code == 0:
            rip = vcpu.regs.rip
            if emulate_privileged(vcpu):
                trace_value(abi.TRC_PV_EMULATE_PRIVOP | abi.TRC_64_FLAG, rip)
                return
    deliver_trap(vcpu, TRAP_gp_fault, error_code)


@noinline
def other_exception(vcpu: Ptr[Vcpu], vector: u32) -> None:
    """Handle the rarer exceptions."""
    if vector == TRAP_invalid_op and emulate_forced(vcpu):
        return
    if vector == GUEST_INT80_VECTOR:
        deliver_int80(vcpu)
        return
    if vector == TRAP_debug:
        vcpu.debugreg[6] |= read_dr6() & DR6_EVENTS
        write_dr6(0)
    if debugger_takes(vcpu, vector):
        return
    if vector == TRAP_no_device:
        # the guest asked for this fault by fpu_taskswitch or cr0, and gets it once
        fpu_set_ts(vcpu, False)
    deliver_trap(vcpu, vector, vcpu.regs.error_code)
