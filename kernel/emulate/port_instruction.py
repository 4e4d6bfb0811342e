"""in, out, ins and outs of guests."""

from kpy import (
    Guest,
    Ptr,
    Slice,
    Tainted,
    cast,
    inline,
    noinline,
    ref,
    truncate,
    u8,
    u16,
    u32,
    u64,
    wrapping_add,
    wrapping_sub,
)

from kernel.base.guest_memory import copy_slice_from_guest, copy_slice_to_guest
from kernel.emulate.instruction import (
    PREFIX_ADDRESS_SIZE,
    PREFIX_FS,
    PREFIX_GS,
    PREFIX_OPERAND_SIZE,
    PREFIX_REPEAT,
    Instruction,
    Operation,
)
from kernel.emulate.io_permission import ports_permitted
from kernel.emulate.ioport import port_read, port_write
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import EFLAGS_DF

REPEATS_AT_ONCE = 64  # then the guest runs the instruction again, so that nobody waits long


@inline
def operand_bytes(instruction: Ptr[Instruction]) -> u32:
    """Return 1, 2 or 4: opcode bit 0 says byte or word; REX.W has no effect on ports."""
    if instruction.opcode & 1 == 0:
        return 1
    return 2 if instruction.prefixes & PREFIX_OPERAND_SIZE else 4


def emulate_in(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """in al/ax/eax from an immediate port or dx."""
    size = operand_bytes(instruction)
    regs = ref(vcpu.regs)
    port = truncate(u16, regs.rdx)
    if instruction.operation == Operation.in_immediate:
        port = u16(instruction.immediate)
    if not ports_permitted(vcpu, port, size):
        return False
    value = u64(port_read(vcpu.domain, port, size))
    match size:
        case 1:
            regs.rax = regs.rax & ~0xFF | value
        case 2:
            regs.rax = regs.rax & ~0xFFFF | value
        case _:
            regs.rax = value
    return True


def emulate_out(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """out al/ax/eax to an immediate port or dx."""
    size = operand_bytes(instruction)
    port = truncate(u16, vcpu.regs.rdx)
    if instruction.operation == Operation.out_immediate:
        port = u16(instruction.immediate)
    if not ports_permitted(vcpu, port, size):
        return False
    port_write(vcpu.domain, port, size, truncate(u32, vcpu.regs.rax))
    return True


@noinline
def emulate_string(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> bool:
    """ins and outs, repeated or not. A fault of the guest's memory ends it there as a #GP."""
    regs = ref(vcpu.regs)
    size = operand_bytes(instruction)
    if instruction.prefixes & PREFIX_ADDRESS_SIZE or not ports_permitted(
        vcpu, truncate(u16, regs.rdx), size
    ):
        return False
    if instruction.prefixes & PREFIX_REPEAT == 0:
        return transfer(vcpu, instruction, size)
    nr = min(regs.rcx, REPEATS_AT_ONCE)
    for _i in range(nr):
        if not transfer(vcpu, instruction, size):
            return False
        regs.rcx = wrapping_sub(regs.rcx, 1)
    if regs.rcx != 0:
        instruction.length = 0
    return True


def transfer(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction], size: u32) -> bool:
    """Move one unit between the port in dx and the guest's memory, and step its index register."""
    regs = ref(vcpu.regs)
    step = u64(size)
    if regs.rflags & EFLAGS_DF:
        step = wrapping_sub(0, step)
    port = truncate(u16, regs.rdx)
    if instruction.operation == Operation.ins:
        if not input_unit(vcpu.domain, port, size, regs.rdi):
            return False
        regs.rdi = wrapping_add(regs.rdi, step)
    else:
        source = wrapping_add(regs.rsi, segment_base(vcpu, instruction))
        if not output_unit(vcpu.domain, port, size, source):
            return False
        regs.rsi = wrapping_add(regs.rsi, step)
    return True


def input_unit(d: Ptr[Domain], port: Tainted[u16], size: u32, to: Tainted[u64]) -> bool:
    """Read a port into guest memory."""
    value = port_read(d, port, size)
    return copy_slice_to_guest(Guest[u8](to), Slice[Tainted[u8]](cast(u8, ref(value)), size))


def output_unit(d: Ptr[Domain], port: Tainted[u16], size: u32, from_: Tainted[u64]) -> bool:
    """Write guest memory to a port."""
    value: Tainted[u32] = 0
    if not copy_slice_from_guest(Slice[Tainted[u8]](cast(u8, ref(value)), size), Guest[u8](from_)):
        return False
    port_write(d, port, size, value)
    return True


def segment_base(vcpu: Ptr[Vcpu], instruction: Ptr[Instruction]) -> Tainted[u64]:
    """Return the base of the segment that the prefix names."""
    if instruction.prefixes & PREFIX_FS:
        return vcpu.fs_base
    if instruction.prefixes & PREFIX_GS:
        return vcpu.gs_base_kernel if vcpu.kernel_mode else vcpu.gs_base_user
    return 0
