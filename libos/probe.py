"""Touch memory that may not be there, or not be ours to write, without dying of the fault."""

import abi
from kpy import Ptr, extern, ref, static, u8, u64

from libos.trap_vectors import TRAP_general_protection, TRAP_page_fault

probe_load_at = static(u8, extern=True, symbol="probe_load_at")
probe_store_at = static(u8, extern=True, symbol="probe_store_at")
probe_failed = static(u8, extern=True, symbol="probe_failed")
probe_call_failed = static(u8, extern=True, symbol="probe_call_failed")
probe_stack = static(u64, extern=True, symbol="probe_stack")

EFLAGS_ORDINARY = 0x202  # interrupts on, no trap or direction flag


@extern
def probe_load(address: u64, to: Ptr[u64]) -> bool:
    """Read 8 bytes. Returns: whether that is allowed."""


@extern
def probe_store(address: u64, value: u64) -> bool:
    """Write 8 bytes. Returns: whether that is allowed."""


@extern
def probe_call(address: u64) -> bool:
    """Call code that may do anything to the registers. Returns: whether it came back by itself."""


def resume_probe(regs: Ptr[abi.cpu_user_regs]) -> bool:
    """Have a probe that faulted report it: called by the trap handler.

    Returns: whether the fault was a probe's.
    """
    if probe_stack != 0:
        regs.rip = u64(ref(probe_call_failed))
        regs.rsp = probe_stack
        regs.rflags = EFLAGS_ORDINARY
        return True
    vector = u64(regs.entry_vector)
    if vector != TRAP_page_fault and vector != TRAP_general_protection:
        return False
    if regs.rip != u64(ref(probe_load_at)) and regs.rip != u64(ref(probe_store_at)):
        return False
    regs.rip = u64(ref(probe_failed))
    return True
