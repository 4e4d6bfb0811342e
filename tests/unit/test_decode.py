"""The decoder of privileged instructions, held against capstone and against every prefix."""

import capstone
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import jit

from kernel.emulate.instruction import Instruction, Operation
from kernel.state.vcpu import Vcpu
from tests.unit.guest import GuestMemory

BASE = 0xFFFFFFFF81000000
COPY = "kernel.base.guest_memory.copy_bytes_from_guest"
EXAMPLES = {
    "in al, dx": (b"\xec", Operation.in_dx),
    "in eax, dx": (b"\xed", Operation.in_dx),
    "in ax, 0x70": (b"\x66\xe5\x70", Operation.in_immediate),
    "out 0x80, al": (b"\xe6\x80", Operation.out_immediate),
    "out dx, eax": (b"\xef", Operation.out_dx),
    "rep insd": (b"\xf3\x6d", Operation.ins),
    "rep outsb": (b"\xf3\x6e", Operation.outs),
    "cli": (b"\xfa", Operation.cli),
    "sti": (b"\xfb", Operation.sti),
    "clts": (b"\x0f\x06", Operation.clts),
    "wbinvd": (b"\x0f\x09", Operation.wbinvd),
    "mov rax, cr3": (b"\x0f\x20\xd8", Operation.read_cr),
    "mov r11, cr4": (b"\x41\x0f\x20\xe3", Operation.read_cr),
    "mov cr0, rdi": (b"\x0f\x22\xc7", Operation.write_cr),
    "mov rcx, dr7": (b"\x0f\x21\xf9", Operation.read_dr),
    "mov dr6, rdx": (b"\x0f\x23\xf2", Operation.write_dr),
    "wrmsr": (b"\x0f\x30", Operation.wrmsr),
    "rdmsr": (b"\x0f\x32", Operation.rdmsr),
    "rdtsc": (b"\x0f\x31", Operation.rdtsc),
    "cpuid": (b"\x0f\xa2", Operation.cpuid),
    "xsetbv": (b"\x0f\x01\xd1", Operation.group7),
    "rdtscp": (b"\x0f\x01\xf9", Operation.group7),
}


@pytest.fixture(scope="module")
def machine():
    memory = GuestMemory(BASE)
    program = jit.load("kernel.emulate.instruction", replace={COPY: memory.copy_from_guest})
    return memory, program, program.new(Vcpu), program.new(Instruction)


def decode(machine, code, at=BASE):
    memory, program, vcpu, instruction = machine
    memory.write(at, code)
    vcpu.regs.rip = at
    return program.decode(vcpu, True, instruction), instruction


@pytest.mark.parametrize("text", EXAMPLES)
def test_decodes(machine, text):
    code, operation = EXAMPLES[text]
    done, instruction = decode(machine, code + b"\x90" * 8)
    assert done
    assert int(instruction.operation) == int(operation)
    assert instruction.length == len(code)
    disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    _, size, mnemonic, operands = next(disassembler.disasm_lite(code, BASE))
    assert size == len(code)
    assert text.split()[0] in f"{mnemonic} {operands}"


@pytest.mark.parametrize("text", EXAMPLES)
def test_needs_every_byte(machine, text):
    """An instruction is decoded up to the end of what can be read, not beyond."""
    code, _ = EXAMPLES[text]
    end = BASE + 4096
    assert decode(machine, code, end - len(code))[0]
    if len(code) > 1:
        assert not decode(machine, code[:-1], end - len(code) + 1)[0]


@pytest.mark.parametrize(
    "code", [b"\xf0\xfa", b"\x0f\x0b", b"\x90", b"\x0f\x20\x18", b"\xf4", b"\x66" * 15]
)
def test_leaves_alone(machine, code):
    """Lock prefixes, #UD, harmless ones, memory operands: the guest's own business."""
    assert not decode(machine, code + b"\x90" * 16)[0]


@given(st.binary(min_size=15, max_size=15))
def test_agrees_on_length(machine, code):
    """Whatever decodes is as long as capstone says, for any bytes."""
    done, instruction = decode(machine, code)
    if done:
        disassembler = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
        known = next(disassembler.disasm_lite(code, BASE), None)
        assert known is None or known[1] == instruction.length


def test_registers(machine):
    """ModRM and REX name the register in the frame."""
    _, program, vcpu, _ = machine
    done, instruction = decode(machine, b"\x41\x0f\x22\xe3" + b"\x90" * 8)  # mov cr4, r11
    assert done
    assert program.decoded_reg(instruction) == 4
    assert program.decoded_rm(instruction) == 11
