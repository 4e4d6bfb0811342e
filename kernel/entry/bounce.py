"""Bounce frames: how a guest kernel comes to run its handler for a trap, event or system call.

The frame that a processor would push lies on the guest kernel's stack, with rcx and r11 below it,
since `syscall` and `sysret` destroy both on the way. A guest user's stack is never used: its
address spaces are switched, and the frame goes to the stack that the kernel registered. A kernel
whose stack cannot be written is beyond help, and crashes.

    +0x38 / +0x30   ss
    +0x30 / +0x28   rsp
    +0x28 / +0x20   rflags                 IF: events were not masked
    +0x20 / +0x18   cs, evtchn_upcall_mask RPL 0: came from the guest kernel; the mask in bits 32-39
    +0x18 / +0x10   rip
    +0x10 /   -     error code             only where the processor pushes one
    +0x08 / +0x08   r11
    +0x00 / +0x00   rcx                    <- rsp, a multiple of 8
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Slice,
    Tainted,
    inline,
    noinline,
    ref,
    u8,
    u32,
    u64,
    uninitialized,
    wrapping_sub,
)

from kernel.base.guest_memory import copy_slice_to_guest
from kernel.console.console import printk
from kernel.sched.runstate import update_runstate_area
from kernel.state.domain import ARCHITECTURAL_IOPL, domain_crash
from kernel.state.vcpu import Vcpu
from kernel.trace.record import trace_2
from kernel.x86.bits import (
    EFLAGS_AC,
    EFLAGS_IF,
    EFLAGS_IOPL,
    EFLAGS_NT,
    EFLAGS_RF,
    EFLAGS_TF,
    EFLAGS_VM,
    IOPL_SHIFT,
    PFEC_USER,
)
from kernel.x86.context import toggle_guest_mode
from kernel.x86.vectors import (
    HAS_ERROR_CODE,
    NR_EXCEPTIONS,
    TRAP_nmi,
    TRAP_page_fault,
)

# trap_info.flags
TI_DPL = 3
TI_MASK_EVENTS = 1 << 2

# Bits of Vcpu.callback_flags beyond those of the ABI's VGCF_*
SYSCALL32_DISABLES_EVENTS = 1 << 16
SYSENTER_DISABLES_EVENTS = 1 << 17

STACK_ALIGNED = (1 << 64) - 16
RPL_CLEARED = 0xFFFC


@inline
def stack_frame(vcpu: Ptr[Vcpu], words: Ptr[Array[Tainted[u64], 5]]) -> None:
    """Fill in rip, cs, rflags, rsp, ss of what was interrupted as the guest kernel shall see it."""
    regs = ref(vcpu.regs)
    mask = vcpu.vcpu_info.evtchn_upcall_mask
    cs = u64(regs.cs & RPL_CLEARED) if vcpu.kernel_mode else u64(regs.cs)
    rflags = regs.rflags & ~(EFLAGS_IF | EFLAGS_IOPL)
    if mask == 0:
        rflags |= EFLAGS_IF
    if vcpu.domain.vm_assist & ARCHITECTURAL_IOPL:
        rflags |= u64(vcpu.iopl) << IOPL_SHIFT
    words[0] = regs.rip
    words[1] = cs | u64(mask) << 32
    words[2] = rflags
    words[3] = regs.rsp
    words[4] = u64(regs.ss)


@inline
def enter_kernel(
    vcpu: Ptr[Vcpu], entry: Tainted[u64], frame: Slice[Tainted[u64]], mask_events: bool
) -> None:
    """Put a frame of the core on the guest kernel's stack and let the vCPU go on at `entry`.

    rcx and r11 are set so that the exit can use `sysret`.
    """
    regs = ref(vcpu.regs)
    top = regs.rsp
    if not vcpu.kernel_mode:
        top = vcpu.kernel_sp
        enter_kernel_mode(vcpu)
    sp = wrapping_sub(top & STACK_ALIGNED, len(frame) * 8)
    if entry == 0 or not copy_slice_to_guest(Guest[u64](sp), frame):
        bounce_failed(vcpu, entry)
        return
    if mask_events:
        vcpu.vcpu_info.evtchn_upcall_mask = 1
    cleared = EFLAGS_AC | EFLAGS_VM | EFLAGS_RF | EFLAGS_NT | EFLAGS_TF
    regs.rflags = regs.rflags & ~cleared
    regs.rip = entry
    regs.rsp = sp
    regs.cs = abi.FLAT_KERNEL_CS
    regs.ss = abi.FLAT_KERNEL_SS
    regs.rcx = entry
    regs.r11 = regs.rflags


@noinline
def enter_kernel_mode(vcpu: Ptr[Vcpu]) -> None:
    """Leave guest user mode. A copy of the runstate that was out of reach there is written now."""
    toggle_guest_mode(vcpu)
    if vcpu.sched.runstate_stale:
        update_runstate_area(vcpu)


@noinline
def bounce_failed(vcpu: Ptr[Vcpu], entry: Tainted[u64]) -> None:
    """Crash the domain of a vCPU that has no handler for this, or no stack to handle it on."""
    if entry == 0:
        domain_crash(
            vcpu.domain, b"a trap, event or system call for which its kernel has no handler"
        )
    else:
        domain_crash(vcpu.domain, b"its kernel stack cannot be written")


@inline
def bounce(vcpu: Ptr[Vcpu], entry: Tainted[u64], mask_events: bool) -> None:
    """Bounce without an error code."""
    frame = uninitialized(Array[Tainted[u64], 7])
    frame[0] = vcpu.regs.rcx
    frame[1] = vcpu.regs.r11
    stack_frame(
        vcpu, Ptr[Array[Tainted[u64], 5]](u64(ref(frame[2])))
    )  # words 2-6 of the local frame
    enter_kernel(vcpu, entry, frame[:], mask_events)


@inline
def bounce_with_error(
    vcpu: Ptr[Vcpu], entry: Tainted[u64], error_code: Tainted[u32], mask_events: bool
) -> None:
    """Bounce with an error code above r11."""
    frame = uninitialized(Array[Tainted[u64], 8])
    frame[0] = vcpu.regs.rcx
    frame[1] = vcpu.regs.r11
    frame[2] = u64(error_code)
    stack_frame(
        vcpu, Ptr[Array[Tainted[u64], 5]](u64(ref(frame[3])))
    )  # words 3-7 of the local frame
    enter_kernel(vcpu, entry, frame[:], mask_events)


@noinline
def deliver_trap(vcpu: Ptr[Vcpu], vector: u32, error_code: Tainted[u32]) -> None:
    """Let the guest kernel handle an exception; without a handler the domain crashes."""
    handler = ref(vcpu.trap_table[vector])
    mask_events = handler.flags & TI_MASK_EVENTS != 0
    if handler.address == 0:
        vcpu.regs.error_code = error_code  # as the guest would see it: the report shows one code
        rip = vcpu.regs.rip
        printk(f"no handler for exception {vector}, error code {error_code:#x}, at {rip:#x}")
        domain_crash(vcpu.domain, b"an exception that its kernel does not handle")
        return
    if vector < NR_EXCEPTIONS and HAS_ERROR_CODE >> vector & 1:
        bounce_with_error(vcpu, handler.address, error_code, mask_events)
    else:
        bounce(vcpu, handler.address, mask_events)


def deliver_page_fault(vcpu: Ptr[Vcpu], address: Tainted[u64], error_code: Tainted[u32]) -> None:
    """Deliver #PF: the address in vcpu_info, the user bit as the guest sees its two modes."""
    vcpu.vcpu_info.arch.cr2 = address
    seen = error_code & ~PFEC_USER
    if not vcpu.kernel_mode:
        seen |= PFEC_USER
    deliver_trap(vcpu, TRAP_page_fault, seen)


@inline
def bounce_syscall(vcpu: Ptr[Vcpu]) -> None:
    """Let the guest kernel serve a `syscall` of its user mode."""
    mask_events = vcpu.callback_flags & abi.VGCF_syscall_disables_events != 0
    bounce(vcpu, vcpu.syscall_callback_eip, mask_events)


@noinline
def bounce_syscall32(vcpu: Ptr[Vcpu]) -> None:
    """Let the guest kernel serve a `syscall` of its 32-bit user mode."""
    mask_events = vcpu.callback_flags & SYSCALL32_DISABLES_EVENTS != 0
    bounce(vcpu, vcpu.syscall32_callback_eip, mask_events)


@noinline
def deliver_interrupt(vcpu: Ptr[Vcpu], vector: Tainted[u8]) -> None:
    """Let the guest kernel handle `int n`: as an exception, but never with an error code."""
    handler = ref(vcpu.trap_table[vector])
    bounce(vcpu, handler.address, handler.flags & TI_MASK_EVENTS != 0)


@noinline
def deliver_event_upcall(vcpu: Ptr[Vcpu]) -> None:
    """Call the guest kernel's event callback. Context: an event is pending and not masked."""
    trace_2(abi.TRC_PROXEN_EVTCHN_UPCALL, u32(vcpu.domain.domain_id), vcpu.vcpu_id)
    bounce(vcpu, vcpu.event_callback_eip, True)


@noinline
def deliver_nmi(vcpu: Ptr[Vcpu]) -> None:
    """Call the guest kernel's NMI handler; no second one comes before its next iret."""
    vcpu.nmi_pending = False
    if vcpu.trap_table[TRAP_nmi].address == 0:
        return
    vcpu.nmi_masked = True
    deliver_trap(vcpu, TRAP_nmi, 0)
