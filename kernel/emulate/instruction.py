"""Fetch and decode the few instructions that the core emulates.

The tables are made at build time from one list. Decoding looks at a copy of the bytes, so a guest
that changes its code meanwhile changes nothing that has been checked.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Tainted,
    build_time,
    enum,
    inline,
    noinline,
    offsetof,
    ref,
    static,
    struct,
    u8,
    u64,
)

from kernel.base.guest_memory import bytes_from_guest, copy_slice_from_guest
from kernel.base.ids import PAGE_SIZE
from kernel.state.vcpu import Vcpu

MAX_BYTES = 15


@enum(u8)
class Operation:
    """What an opcode asks for."""

    none = 0
    ins = 1
    outs = 2
    in_immediate = 3
    in_dx = 4
    out_immediate = 5
    out_dx = 6
    cli = 7
    sti = 8
    clts = 9
    wbinvd = 10
    read_cr = 11
    write_cr = 12
    read_dr = 13
    write_dr = 14
    wrmsr = 15
    rdmsr = 16
    rdtsc = 17
    cpuid = 18
    group7 = 19  # 0f 01: xsetbv, rdtscp
    invd = 20


ONE_BYTE = {
    0x6C: Operation.ins,
    0x6D: Operation.ins,
    0x6E: Operation.outs,
    0x6F: Operation.outs,
    0xE4: Operation.in_immediate,
    0xE5: Operation.in_immediate,
    0xE6: Operation.out_immediate,
    0xE7: Operation.out_immediate,
    0xEC: Operation.in_dx,
    0xED: Operation.in_dx,
    0xEE: Operation.out_dx,
    0xEF: Operation.out_dx,
    0xFA: Operation.cli,
    0xFB: Operation.sti,
}
TWO_BYTE = {
    0x01: Operation.group7,
    0x06: Operation.clts,
    0x08: Operation.invd,
    0x09: Operation.wbinvd,
    0x20: Operation.read_cr,
    0x21: Operation.read_dr,
    0x22: Operation.write_cr,
    0x23: Operation.write_dr,
    0x30: Operation.wrmsr,
    0x31: Operation.rdtsc,
    0x32: Operation.rdmsr,
    0xA2: Operation.cpuid,
}
HAS_MODRM = {
    Operation.group7,
    Operation.read_cr,
    Operation.read_dr,
    Operation.write_cr,
    Operation.write_dr,
}

# What a prefix byte does, bits of `Instruction.prefixes`.
PREFIX_OPERAND_SIZE = 1 << 0
PREFIX_ADDRESS_SIZE = 1 << 1
PREFIX_REPEAT = 1 << 2
PREFIX_FS = 1 << 3
PREFIX_GS = 1 << 4
PREFIX_SEGMENT = 1 << 5  # cs, ds, es, ss: without effect in long mode
PREFIX_LOCK = 1 << 6
PREFIXES = {
    0x66: PREFIX_OPERAND_SIZE,
    0x67: PREFIX_ADDRESS_SIZE,
    0xF2: PREFIX_REPEAT,
    0xF3: PREFIX_REPEAT,
    0x64: PREFIX_FS,
    0x65: PREFIX_GS,
    0x26: PREFIX_SEGMENT,
    0x2E: PREFIX_SEGMENT,
    0x36: PREFIX_SEGMENT,
    0x3E: PREFIX_SEGMENT,
    0xF0: PREFIX_LOCK,
}
REX_W = 1 << 3
REX_R = 1 << 2
REX_B = 1 << 0

REGISTERS = [
    "rax",
    "rcx",
    "rdx",
    "rbx",
    "rsp",
    "rbp",
    "rsi",
    "rdi",
    "r8",
    "r9",
    "r10",
    "r11",
    "r12",
    "r13",
    "r14",
    "r15",
]  # by their number in an instruction


@build_time
def by_opcode(table, default):
    """Return a dictionary of opcodes as a list of 256."""
    return [table.get(opcode, default) for opcode in range(256)]


prefix_of = static(Array[u8, 256], by_opcode(PREFIXES, 0))
one_byte = static(Array[Operation, 256], by_opcode(ONE_BYTE, Operation.none))
two_byte = static(Array[Operation, 256], by_opcode(TWO_BYTE, Operation.none))
has_modrm = static(
    Array[bool, 32], [Operation(i) in HAS_MODRM if i <= 20 else False for i in range(32)]
)
register_offset = static(Array[u64, 16], [offsetof(abi.cpu_user_regs, name) for name in REGISTERS])


@struct
class Instruction:
    """A decoded instruction."""

    bytes: Tainted[Array[u8, 16]]
    nr_fetched: u64
    length: u64  # of the whole instruction, once decoded
    operation: Operation
    prefixes: u8
    rex: Tainted[u8]
    opcode: Tainted[u8]
    modrm: Tainted[u8]
    immediate: Tainted[u8]


@inline
def gpr(vcpu: Ptr[Vcpu], number: u8) -> Ptr[Tainted[u64]]:
    """Return the place of a general register in the frame.

    The table's offsets are all inside it.
    """
    return Ptr[Tainted[u64]](u64(ref(vcpu.regs)) + register_offset[number & 15])


@inline
def decoded_reg(instruction: Ptr[Instruction]) -> u8:
    """Return ModRM.reg with its REX bit."""
    return instruction.modrm >> 3 & 7 | (instruction.rex & REX_R) << 1


@inline
def decoded_rm(instruction: Ptr[Instruction]) -> u8:
    """Return ModRM.rm with its REX bit."""
    return instruction.modrm & 7 | (instruction.rex & REX_B) << 3


def next_byte(instruction: Ptr[Instruction]) -> tuple[Tainted[u8], bool]:
    """Consume one byte.

    False: the instruction goes on where nothing could be read, or is too long.
    """
    position = instruction.length
    if position >= instruction.nr_fetched:
        return 0, False
    instruction.length = position + 1
    return instruction.bytes[position], True


def fetch(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> None:
    """Copy the bytes at rip, only those of its page when the next one can't be read."""
    here = Guest[u8](vcpu.regs.rip)
    instruction.nr_fetched = MAX_BYTES
    if not copy_slice_from_guest(instruction.bytes[0:MAX_BYTES], here):
        wanted = min(MAX_BYTES, PAGE_SIZE - here.address() % PAGE_SIZE)
        instruction.nr_fetched = bytes_from_guest(instruction.bytes[0:wanted], here)


@noinline
def decode(vcpu: Ptr[Vcpu], long_mode: bool, instruction: Ptr[Instruction]) -> bool:
    """Decode the instruction at rip. False: it is none that the core emulates, or can't be read."""
    fetch(vcpu, instruction)
    instruction.length = 0
    instruction.prefixes = 0
    instruction.rex = 0
    opcode, ok = next_byte(instruction)
    while ok and prefix_of[opcode] != 0:
        instruction.prefixes |= prefix_of[opcode]
        opcode, ok = next_byte(instruction)
    if ok and long_mode and opcode >> 4 == 4:
        instruction.rex = opcode & 15
        opcode, ok = next_byte(instruction)
    if ok and opcode == 0x0F:
        opcode, ok = next_byte(instruction)
        instruction.operation = two_byte[opcode]
    else:
        instruction.operation = one_byte[opcode]
    instruction.opcode = opcode
    if not ok or instruction.operation == Operation.none or instruction.prefixes & PREFIX_LOCK:
        return False
    return decode_operands(instruction)


def decode_operands(instruction: Ptr[Instruction]) -> bool:
    """Read ModRM or the port number. Only register forms exist of what has a ModRM here."""
    ok = True
    if has_modrm[u8(instruction.operation)]:
        instruction.modrm, ok = next_byte(instruction)
        return ok and instruction.modrm >> 6 == 3
    if (
        instruction.operation == Operation.in_immediate
        or instruction.operation == Operation.out_immediate
    ):
        instruction.immediate, ok = next_byte(instruction)
    return ok
