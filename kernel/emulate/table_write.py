"""Decoding the instructions with which a guest kernel writes to a page table as if it were memory.

The address is known from the fault, so of the memory operand only its length matters. These are
what compilers make of stores to and atomic changes of page-table entries; anything else is left to
the guest as the page fault that it is.
Source: Intel SDM vol 2 2.1 (formats), 2.2.1 (REX).
"""

from kpy import (
    Array,
    Ptr,
    Tainted,
    build_time,
    enum,
    load,
    noinline,
    ref,
    static,
    store,
    struct,
    u8,
    u64,
    uninitialized,
)

from kernel.emulate.instruction import (
    PREFIX_ADDRESS_SIZE,
    PREFIX_OPERAND_SIZE,
    REX_W,
    Instruction,
    decoded_reg,
    fetch,
    gpr,
    next_byte,
    prefix_of,
)
from kernel.state.vcpu import Vcpu


@enum(u8)
class TableWrite:
    none = 0
    mov = 1
    and_ = 2
    or_ = 3
    xor = 4
    xchg = 5
    cmpxchg = 6
    bts = 7
    btr = 8
    btc = 9
    group1 = 10  # which operation ModRM.reg tells, as for the next
    group8 = 11


# By opcode; opcodes come in pairs, for bytes and for words.
ONE_BYTE = {
    0x88: "mov",
    0xC6: "mov",
    0x08: "or_",
    0x20: "and_",
    0x30: "xor",
    0x86: "xchg",
    0x80: "group1",
}
TWO_BYTE = {0xB0: "cmpxchg"}
WORD_ONLY = {0xAB: "bts", 0xB3: "btr", 0xBB: "btc", 0xBA: "group8"}
GROUP1 = {1: "or_", 4: "and_", 6: "xor"}
GROUP8 = {5: "bts", 6: "btr", 7: "btc"}
GROUP1_WORD_BYTE = 0x83  # words changed by a byte, sign-extended
MOV_IMMEDIATE = 0xC6


@build_time
def pairs(table):
    """Return the table for both opcodes of each pair."""
    return {first + second: name for first, name in table.items() for second in (0, 1)}


@build_time
def as_list(table, length):
    """Return a dictionary of names as a list of operations."""
    return [getattr(TableWrite, table.get(i, "none")) for i in range(length)]


one_byte = static(
    Array[TableWrite, 256], as_list({**pairs(ONE_BYTE), GROUP1_WORD_BYTE: "group1"}, 256)
)
two_byte = static(Array[TableWrite, 256], as_list({**pairs(TWO_BYTE), **WORD_ONLY}, 256))
group1 = static(Array[TableWrite, 8], as_list(GROUP1, 8))
group8 = static(Array[TableWrite, 8], as_list(GROUP8, 8))


@struct
class Write:
    """A decoded write."""

    operation: TableWrite
    size: u8  # bytes
    register: u8  # the source, or what is exchanged, if there is no immediate
    has_immediate: bool
    immediate: Tainted[u64]
    length: u64  # of the instruction


@noinline
def decode_write(v: Ptr[Vcpu], write: Ptr[Write]) -> bool:
    """Decode the instruction at rip of a guest kernel.

    Returns: False when it is none that the core emulates, or can't be read.
    """
    instruction = uninitialized(Instruction)
    fetch(v, ref(instruction))
    instruction.length = 0
    instruction.prefixes = 0
    instruction.rex = 0
    opcode, ok = next_byte(ref(instruction))
    while ok and prefix_of[opcode] != 0:
        instruction.prefixes |= prefix_of[opcode]
        opcode, ok = next_byte(ref(instruction))
    if ok and opcode >> 4 == 4:
        instruction.rex = opcode & 15
        opcode, ok = next_byte(ref(instruction))
    is_two_byte = ok and opcode == 0x0F
    if is_two_byte:
        opcode, ok = next_byte(ref(instruction))
    write.operation = two_byte[opcode] if is_two_byte else one_byte[opcode]
    instruction.opcode = opcode
    if (
        not ok
        or write.operation == TableWrite.none
        or instruction.prefixes & PREFIX_ADDRESS_SIZE != 0
    ):
        return False
    if not skip_operand(ref(instruction)) or not choose_operation(ref(instruction), write):
        return False
    write.size = operand_bytes(ref(instruction), is_two_byte and opcode != 0xB0)
    return finish_decoding(ref(instruction), write)


def operand_bytes(instruction: Ptr[Instruction], is_word: bool) -> u8:
    """Return the size of the operand: words unless the opcode is even, the first of its pair."""
    if instruction.opcode & 1 == 0 and not is_word:
        return 1
    if instruction.rex & REX_W:
        return 8
    return 2 if instruction.prefixes & PREFIX_OPERAND_SIZE else 4


def skip_operand(instruction: Ptr[Instruction]) -> bool:
    """Read ModRM and step over what follows it.

    Returns: whether it is a memory operand, and all there.
    """
    instruction.modrm, ok = next_byte(instruction)
    mode = instruction.modrm >> 6
    base = instruction.modrm & 7
    displacement: u64 = 0
    if mode == 3 or not ok:
        return False
    if base == 4:
        sib, ok = next_byte(instruction)
        base = sib & 7
    if mode == 1:
        displacement = 1
    elif mode == 2 or base == 5:
        displacement = 4
    instruction.length += displacement
    return ok and instruction.length <= instruction.nr_fetched


def choose_operation(instruction: Ptr[Instruction], write: Ptr[Write]) -> bool:
    """Find the operation where ModRM tells it, and whether the source is an immediate.

    Returns: False when it is none of ours.
    """
    extension = instruction.modrm >> 3 & 7
    if write.operation == TableWrite.group1:
        write.operation = group1[extension]
        write.has_immediate = True
    elif write.operation == TableWrite.group8:
        write.operation = group8[extension]
        write.has_immediate = True
    elif write.operation == TableWrite.mov and instruction.opcode & ~1 == MOV_IMMEDIATE:
        write.has_immediate = True
        return extension == 0
    return write.operation != TableWrite.none


def finish_decoding(instruction: Ptr[Instruction], write: Ptr[Write]) -> bool:
    """Read the immediate, or note the register.

    The old high-byte registers (AH and so on) are refused.
    """
    write.register = decoded_reg(instruction)
    if write.has_immediate:
        is_byte = write.size == 1 or instruction.opcode in (GROUP1_WORD_BYTE, 0xBA)
        nr_bytes = u64(1) if is_byte else u64(min(write.size, 4))
        if not read_immediate(instruction, nr_bytes, write):
            return False
    elif write.size == 1 and instruction.rex == 0 and write.register >= 4:
        return False
    write.length = instruction.length
    return True


def read_immediate(instruction: Ptr[Instruction], nr_bytes: u64, write: Ptr[Write]) -> bool:
    """Read a sign-extended immediate. Returns: whether it is all there."""
    value: Tainted[u64] = 0
    for i in range(nr_bytes):
        byte, ok = next_byte(instruction)
        if not ok:
            return False
        value |= u64(byte) << (8 * i)
    sign = u64(1) << (8 * nr_bytes - 1)
    write.immediate = (value | ~(sign - 1)) if value & sign else value
    return True


def source_operand(v: Ptr[Vcpu], write: Ptr[Write]) -> Tainted[u64]:
    """Return the register or immediate operand, all 64 bits of it."""
    if write.has_immediate:
        return write.immediate
    return load(gpr(v, write.register))


def set_register(v: Ptr[Vcpu], number: u8, size: u8, value: Tainted[u64]) -> None:
    """Store a result of an operand size in a register, as the processor does: 4 bytes clear the
    upper half, 1 and 2 keep the rest.
    """
    register = gpr(v, number)
    if size >= 4:
        store(register, value)
        return
    mask = (u64(1) << (8 * u64(size))) - 1
    store(register, load(register) & ~mask | value & mask)
