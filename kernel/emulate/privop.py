"""Privileged instructions of guests, emulated: the guest kernel runs in ring 3, where they raise
#GP.

A guest user may only reach I/O ports, and only those that its kernel opened to it. Whatever is not
emulated returns to the guest as the #GP that it raised.
"""

import abi
from kpy import Ptr, noinline, ref, truncate, u32, u64, uninitialized

from kernel.emulate.control import read_control, read_debug, write_control, write_debug
from kernel.emulate.cpuid import emulate_cpuid
from kernel.emulate.instruction import Instruction, Operation, decode
from kernel.emulate.io_permission import iopl_ok
from kernel.emulate.msr import read_msr, write_msr
from kernel.emulate.port_instruction import emulate_in, emulate_out, emulate_string
from kernel.entry.step import step_over
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import CR4_OSXSAVE
from kernel.x86.cpu import rdtsc, wbinvd
from kernel.x86.fpu import fpu_set_ts, fpu_set_xcr0

LINUX_USER32_CS = 0x23
LOW_32 = 0xFFFFFFFF


@noinline
def emulate_privileged(vcpu: Ptr[Vcpu]) -> bool:
    """Emulate the instruction at rip. False: the guest shall have its #GP."""
    instruction = uninitialized(Instruction)
    if not decode(vcpu, in_long_mode(vcpu), ref(instruction)):
        return False
    if not emulate(vcpu, ref(instruction)):
        return False
    step_over(vcpu, instruction.length)
    return True


def in_long_mode(vcpu: Ptr[Vcpu]) -> bool:
    """Tell whether the guest runs 64-bit code.

    Code segments other than the two well-known 32-bit ones count as such.
    """
    return vcpu.kernel_mode or not (
        vcpu.regs.cs == abi.FLAT_RING3_CS32 or vcpu.regs.cs == LINUX_USER32_CS
    )


def emulate(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """Do what the instruction says.

    A string instruction that isn't done yet keeps rip by a length of 0.
    """
    match instruction.operation:
        case Operation.in_immediate | Operation.in_dx:
            return emulate_in(vcpu, instruction)
        case Operation.out_immediate | Operation.out_dx:
            return emulate_out(vcpu, instruction)
        case Operation.ins | Operation.outs:
            return emulate_string(vcpu, instruction)
        case Operation.cli | Operation.sti:
            return iopl_ok(vcpu)  # without effect, as on Xen: a guest masks events in its vcpu_info
        case _:
            return vcpu.kernel_mode and emulate_in_kernel(vcpu, instruction)


def emulate_in_kernel(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """Emulate what only a guest kernel may do."""
    match instruction.operation:
        case Operation.rdmsr:
            return emulate_rdmsr(vcpu)
        case Operation.wrmsr:
            regs = ref(vcpu.regs)
            return write_msr(vcpu, truncate(u32, regs.rcx), regs.rdx << 32 | regs.rax & LOW_32)
        case Operation.read_cr:
            return read_control(vcpu, instruction)
        case Operation.write_cr:
            return write_control(vcpu, instruction)
        case Operation.read_dr:
            return read_debug(vcpu, instruction)
        case Operation.write_dr:
            return write_debug(vcpu, instruction)
        case Operation.clts:
            fpu_set_ts(vcpu, False)
        case Operation.wbinvd:
            if vcpu.domain.is_privileged:
                wbinvd()
        case Operation.rdtsc:
            emulate_rdtsc(vcpu)
        case Operation.cpuid:
            emulate_cpuid(vcpu)
        case Operation.group7:
            return emulate_group7(vcpu, instruction)
        case _:
            return False
    return True


def emulate_rdmsr(vcpu: Ptr[Vcpu]) -> bool:
    """rdmsr: the value to edx:eax."""
    regs = ref(vcpu.regs)
    value, exists = read_msr(vcpu, truncate(u32, regs.rcx))
    if not exists:
        return False
    regs.rax = value & LOW_32
    regs.rdx = value >> 32
    return True


def emulate_rdtsc(vcpu: Ptr[Vcpu]) -> None:
    """rdtsc, which traps only while the guest has cr4.TSD set."""
    now = rdtsc()
    vcpu.regs.rax = now & LOW_32
    vcpu.regs.rdx = now >> 32


def emulate_group7(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """xsetbv and rdtscp."""
    regs = ref(vcpu.regs)
    match instruction.modrm:
        case 0xD1:
            wanted = regs.rdx << 32 | regs.rax & LOW_32
            enabled = vcpu.cr4 & CR4_OSXSAVE != 0
            return enabled and truncate(u32, regs.rcx) == 0 and fpu_set_xcr0(vcpu, wanted)
        case 0xF9:
            emulate_rdtsc(vcpu)
            regs.rcx = u64(vcpu.tsc_aux)
            return True
        case _:
            return False
