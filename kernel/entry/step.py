"""Stepping a guest over an instruction that the core carried out for it."""

from kpy import Ptr, inline, noinline, ref, u64, wrapping_add

from kernel.entry.bounce import deliver_trap
from kernel.panic.debugger import debugger_takes
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import EFLAGS_RF, EFLAGS_TF
from kernel.x86.vectors import DR6_SINGLE_STEP, TRAP_debug


@inline
def step_over(vcpu: Ptr[Vcpu], length: u64) -> None:
    """Go on behind the instruction, as the processor would: who single-steps gets the #DB."""
    regs = ref(vcpu.regs)
    regs.rip = wrapping_add(regs.rip, length)
    if regs.rflags & EFLAGS_TF:
        trap_step(vcpu)
    else:
        regs.rflags &= ~EFLAGS_RF


@noinline
def trap_step(vcpu: Ptr[Vcpu]) -> None:
    """Raise the #DB of a step, for the guest or its debugger."""
    vcpu.debugreg[6] |= DR6_SINGLE_STEP
    if not debugger_takes(vcpu, TRAP_debug):
        deliver_trap(vcpu, TRAP_debug, 0)
