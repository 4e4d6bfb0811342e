"""Hypercalls of the way back and of task switches: iret, stack_switch, set_segment_base,
fpu_taskswitch.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    i64,
    ref,
    require,
    truncate,
    trusted,
    u16,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest
from kernel.base.registry import hypercall
from kernel.state.domain import ARCHITECTURAL_IOPL, domain_crash
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import EFLAGS_IF, EFLAGS_IOPL, EFLAGS_VM, IOPL_SHIFT
from kernel.x86.canonical import is_canonical
from kernel.x86.context import (
    load_gs_user_selector,
    set_fs_base,
    set_gs_base_kernel,
    set_gs_base_user,
    toggle_guest_mode,
)
from kernel.x86.fpu import fpu_set_ts

RPL = 3


@hypercall(abi.__HYPERVISOR_iret)
def do_iret(vcpu: Ptr[Vcpu]) -> i64:
    """Return from a trap, an event or a system call to where the guest kernel's stack says.

    Hypercall: iret(), with an iret_context at rsp. RPL 3 in cs means guest user mode. rflags.IF
    becomes the event mask.
    Returns: the context's rax. A stack that can't be read, or user mode without page tables,
    crashes the domain.
    """
    regs = ref(vcpu.regs)
    frame = uninitialized(Tainted[abi.iret_context])
    if not copy_from_guest(ref(frame), Guest[abi.iret_context](regs.rsp)):
        domain_crash(vcpu.domain, b"iret: its stack cannot be read")
        return 0
    if frame.cs & RPL == RPL:
        if vcpu.guest_table_user is None:
            domain_crash(vcpu.domain, b"iret to user mode without user page tables")
            return 0
        toggle_guest_mode(vcpu)
    if vcpu.domain.vm_assist & ARCHITECTURAL_IOPL:
        vcpu.iopl = truncate(u32, frame.rflags & EFLAGS_IOPL) >> IOPL_SHIFT
    regs.rip = frame.rip
    regs.cs = truncate(u16, frame.cs) | RPL
    regs.rflags = frame.rflags & ~(EFLAGS_IOPL | EFLAGS_VM) | EFLAGS_IF
    regs.rsp = frame.rsp
    regs.ss = truncate(u16, frame.ss) | RPL
    if frame.flags & abi.VGCF_in_syscall:
        leave_by_sysret(vcpu)
    else:
        regs.rcx = frame.rcx
        regs.r11 = frame.r11
    vcpu.vcpu_info.evtchn_upcall_mask = 0 if frame.rflags & EFLAGS_IF else 1
    vcpu.nmi_masked = False
    return trusted(truncate(i64, frame.rax))  # it goes back to rax as it is


def leave_by_sysret(vcpu: Ptr[Vcpu]) -> None:
    """Set the registers as `sysret` leaves them, so that the exit is the fast one."""
    regs = ref(vcpu.regs)
    if regs.cs != abi.FLAT_USER_CS32:
        regs.cs = abi.FLAT_USER_CS64
        regs.ss = abi.FLAT_USER_SS64
    regs.rcx = regs.rip
    regs.r11 = regs.rflags


@hypercall(abi.__HYPERVISOR_stack_switch)
def do_stack_switch(vcpu: Ptr[Vcpu], ss: Tainted[u64], sp: Tainted[u64]) -> i64:
    """Set the kernel stack for traps from guest user mode.

    Hypercall: stack_switch(ss: selector, sp: address).
    """
    vcpu.kernel_ss = ss | RPL
    vcpu.kernel_sp = sp
    return 0


@hypercall(abi.__HYPERVISOR_set_segment_base)
def do_set_segment_base(vcpu: Ptr[Vcpu], which: Tainted[u32], base: Tainted[u64]) -> i64:
    """Set the base of fs or gs, of the kernel or of its user mode.

    Hypercall: set_segment_base(which: SEGBASE_*, base: canonical address, or a selector for
    SEGBASE_GS_USER_SEL).
    Errors: -EINVAL, not canonical, or no such base. A selector that can't be loaded becomes the
    null selector.
    """
    if which == abi.SEGBASE_GS_USER_SEL:
        if not load_gs_user_selector(u32(base & 0xFFFF)):
            load_gs_user_selector(0)
        return 0
    require(is_canonical(base), -abi.EINVAL)
    match which:
        case abi.SEGBASE_FS:
            set_fs_base(vcpu, base)
        case abi.SEGBASE_GS_USER:
            set_gs_base_user(vcpu, base)
        case abi.SEGBASE_GS_KERNEL:
            set_gs_base_kernel(vcpu, base)
        case _:
            return -abi.EINVAL
    return 0


@hypercall(abi.__HYPERVISOR_fpu_taskswitch)
def do_fpu_taskswitch(vcpu: Ptr[Vcpu], on: Tainted[u32]) -> i64:
    """Set or clear the vCPU's cr0.TS. Hypercall: fpu_taskswitch(on: bool)."""
    fpu_set_ts(vcpu, on != 0)
    return 0
