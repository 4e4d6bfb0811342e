"""Keeping domains from steering each other's branch predictions, with what the processor offers.

kernel/x86/speculation.py decides at boot what is used.

Source: Intel SDM vol 4 (MSRs 48H, 49H); AMD APM vol 2 3.2.9 (speculation control).
"""

from kpy import Ptr, inline, static, u64

from kernel.x86.bits import EFER_AIBRSE, MSR_EFER, MSR_PRED_CMD, MSR_SPEC_CTRL
from kernel.x86.cpu import rdmsr, wrmsr
from kernel.x86.percpu import Pcpu

SPEC_CTRL_IBRS = 1 << 0
SPEC_CTRL_STIBP = 1 << 1
SPEC_CTRL_SSBD = 1 << 2
PRED_CMD_IBPB = 1 << 0

core_spec_ctrl = static(u64)  # bits of MSR_SPEC_CTRL that are set whoever runs
guest_spec_ctrl = static(u64)  # bits that guests may set
uses_automatic_ibrs = static(bool)
has_ibpb = static(bool)
empties_predictors = static(bool)  # between domains
has_arch_capabilities = static(bool)
guest_arch_capabilities = static(u64)  # what guests read there


def set_speculation_controls(cpu: Ptr[Pcpu]) -> None:
    """Set what this processor keeps set whoever runs."""
    if uses_automatic_ibrs:
        wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_AIBRSE)
    if core_spec_ctrl != 0:
        cpu.spec_ctrl = core_spec_ctrl
        wrmsr(MSR_SPEC_CTRL, core_spec_ctrl)


@inline
def leave_domain() -> None:
    """Keep what one domain trained from steering the next one that runs on this processor."""
    if empties_predictors:
        empty_predictors()


def empty_predictors() -> None:
    """Forget all predicted indirect branches of this processor. The caller knows `has_ibpb`."""
    wrmsr(MSR_PRED_CMD, PRED_CMD_IBPB)


@inline
def load_spec_ctrl(cpu: Ptr[Pcpu], chosen: u64) -> None:
    """Set the bits that the guest to run chose, and the core's."""
    wanted = chosen | core_spec_ctrl
    if cpu.spec_ctrl != wanted:
        cpu.spec_ctrl = wanted
        wrmsr(MSR_SPEC_CTRL, wanted)
