"""A toolstack's debugger for a guest: while one is attached, breakpoints and single steps of the
guest kernel stop the whole domain instead of reaching the guest's own handlers.

The vCPU that trapped notes the vector for XEN_DOMCTL_gdbsx_domstatus, and domain 0 gets
VIRQ_DEBUGGER. The domain stays paused, one controller pause for each trap, until the toolstack
unpauses it. Traps of guest user mode are the guest kernel's business as ever, so a debugger inside
the guest goes on working; only the end of a step that the toolstack asked for is never shown to it.
"""

import abi
from kpy import Ptr, inline, noinline, u32

from kernel.evtchn.virq import send_global_virq
from kernel.sched.pause import domain_pause_by_trap
from kernel.state.vcpu import Vcpu
from kernel.x86.vectors import TRAP_debug, TRAP_int3


@inline
def is_for_debugger(v: Ptr[Vcpu], vector: u32) -> bool:
    """Tell whether an exception of the running vCPU is its debugger's."""
    if vector != TRAP_debug and vector != TRAP_int3:
        return False
    if not v.domain.debugger_attached:
        return False
    return v.kernel_mode or v.is_single_stepped and vector == TRAP_debug


@inline
def debugger_takes(v: Ptr[Vcpu], vector: u32) -> bool:
    """Stop the domain if an exception of the running vCPU is its debugger's.

    Returns: whether it was; if not, the guest has to get it.
    """
    return is_for_debugger(v, vector) and stop_for_debugger(v, vector)


@noinline
def stop_for_debugger(v: Ptr[Vcpu], vector: u32) -> bool:
    """Pause the domain of the running vCPU, and tell the debugger.

    Returns: False when it is paused too often already; then the guest gets its exception.
    Locks: takes domain 0's event lock. Context: on the way out the scheduler is asked.
    """
    if not domain_pause_by_trap(v.domain):
        return False
    v.debugger_event = vector
    send_global_virq(abi.VIRQ_DEBUGGER)
    return True
