"""Forced emulation: `ud2` and the letters "xen" before cpuid ask the core for the guest's view of
it.
"""

from kpy import Array, Guest, Ptr, Tainted, noinline, ref, static, u8, uninitialized

from kernel.base.guest_memory import copy_from_guest
from kernel.emulate.cpuid import emulate_cpuid
from kernel.entry.step import step_over
from kernel.state.vcpu import Vcpu

FORCED_CPUID = b"\x0f\x0bxen\x0f\xa2"
NR_BYTES = len(FORCED_CPUID)

forced_cpuid = static(Array[u8, NR_BYTES], list(FORCED_CPUID))


@noinline
def emulate_forced(vcpu: Ptr[Vcpu]) -> bool:
    """Emulate the instruction after the prefix at rip. False: it is a plain #UD."""
    code = uninitialized(Tainted[Array[u8, NR_BYTES]])
    if not copy_from_guest(ref(code), Guest[Array[u8, NR_BYTES]](vcpu.regs.rip)):
        return False
    for i in range(NR_BYTES):
        if code[i] != forced_cpuid[i]:
            return False
    emulate_cpuid(vcpu)
    step_over(vcpu, NR_BYTES)
    return True
