"""Decoding and carrying out the instructions with which guests write to their page tables."""

import pytest
from kpy import jit

from kernel.emulate.ptwr import Effect
from kernel.emulate.table_write import TableWrite, Write
from kernel.state.vcpu import Vcpu
from tests.unit.guest import GuestMemory

PAGE = 0x401000
CF, PF, ZF = 1 << 0, 1 << 2, 1 << 6
RAX, RCX, RDX, R9 = 0x1111, 0x2222, 0x3333, 0x9999

# Bytes; operation, size, operand. The memory operand is at rdi unless it says otherwise.
WRITES = [
    ("48 89 07", "mov", 8, RAX),
    ("4c 89 0f", "mov", 8, R9),
    ("89 47 08", "mov", 4, RAX),
    ("66 89 87 00 10 00 00", "mov", 2, RAX),
    ("48 89 04 0f", "mov", 8, RAX),
    ("48 89 04 25 00 10 00 00", "mov", 8, RAX),
    ("48 89 05 00 10 00 00", "mov", 8, RAX),
    ("48 c7 07 f0 ff ff ff", "mov", 8, (1 << 64) - 16),
    ("c6 07 7f", "mov", 1, 0x7F),
    ("48 87 07", "xchg", 8, RAX),
    ("f0 48 0f b1 17", "cmpxchg", 8, RDX),
    ("f0 80 27 fd", "and_", 1, (1 << 64) - 3),
    ("f0 48 83 0f 20", "or_", 8, 0x20),
    ("48 81 37 00 01 00 00", "xor", 8, 0x100),
    ("f0 48 0f ba 2f 06", "bts", 8, 6),
    ("f0 48 0f ba 37 05", "btr", 8, 5),
    ("f0 48 0f b3 0f", "btr", 8, RCX),
    ("f0 48 0f bb 0f", "btc", 8, RCX),
]
OTHERS = [
    "48 8b 07",  # a load
    "48 89 c7",  # register to register
    "88 27",  # ah
    "67 48 89 07",  # a 32-bit address
    "48 01 07",  # add
    "48 c7 4f 08 00 00 00 00",  # no such extension of c7
    "48 89",  # cut off
]


class Machine:
    def __init__(self):
        self.memory = GuestMemory(PAGE)
        self.program = jit.load(
            "kernel.emulate.table_write",
            also=["kernel.emulate.ptwr"],
            replace={"kernel.base.guest_memory.copy_bytes_from_guest": self.memory.copy_from_guest},
        )

    def decode(self, text):
        """Decode an instruction at the end of a page; None when it is none of ours."""
        code = bytes.fromhex(text)
        vcpu = self.program.new(Vcpu)
        vcpu.regs.rip = PAGE + 4096 - len(code)
        self.memory.write(vcpu.regs.rip, code)
        vcpu.regs.rax, vcpu.regs.rcx, vcpu.regs.rdx, vcpu.regs.r9 = RAX, RCX, RDX, R9
        write = self.program.new(Write)
        return (vcpu, write) if self.program.decode_write(vcpu, write) else None


@pytest.fixture(scope="module")
def machine():
    return Machine()


@pytest.mark.parametrize(("text", "operation", "size", "operand"), WRITES)
def test_decodes(machine, text, operation, size, operand):
    vcpu, write = machine.decode(text)
    assert write.operation == getattr(TableWrite, operation) and write.size == size
    assert write.length == len(bytes.fromhex(text))
    assert machine.program.source_operand(vcpu, write) == operand


@pytest.mark.parametrize("text", OTHERS)
def test_leaves_alone(machine, text):
    assert machine.decode(text) is None


@pytest.mark.parametrize(
    ("text", "old", "new", "flags"),
    [
        ("48 89 07", 5, RAX, None),
        ("f0 80 27 fd", 0xE7, 0xE5, 0x80),
        ("48 83 0f 20", 0, 0x20, 0),
        ("48 83 37 20", 0x20, 0, ZF | PF),
        ("f0 48 0f ba 37 05", 0x67, 0x47, CF),
        ("f0 48 0f ba 2f 06", 0x27, 0x67, 0),
        ("f0 48 0f b1 17", RAX, RDX, ZF),
        ("f0 48 0f b1 17", 7, None, 0),
    ],
)
def test_effects(machine, text, old, new, flags):
    """The new value, None for no store, and the flags that the processor would set."""
    vcpu, write = machine.decode(text)
    mask = (1 << 8 * write.size) - 1
    effect = machine.program.new(Effect, old=old, mask=mask)
    machine.program["kernel.emulate.ptwr.compute"](vcpu, write, effect)
    machine.program["kernel.emulate.ptwr.set_results"](vcpu, write, effect)
    assert effect.is_stored == (new is not None)
    if new is not None:
        assert effect.new == new
    if flags is not None:
        assert vcpu.regs.rflags == flags
    if new is None:
        assert vcpu.regs.rax == old


def test_exchange_returns_the_old_value(machine):
    vcpu, write = machine.decode("87 07")
    effect = machine.program.new(Effect, old=0xABCD, mask=(1 << 32) - 1)
    machine.program["kernel.emulate.ptwr.set_results"](vcpu, write, effect)
    assert vcpu.regs.rax == 0xABCD
