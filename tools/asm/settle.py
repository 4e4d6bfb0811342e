"""The end of assembly: every place that waits for a label gets its value, or a relocation."""

from dataclasses import dataclass

from asm import elf
from asm.errors import AsmError
from asm.instruction import Fixup
from asm.names import Names

ABSOLUTE = {8: elf.R_X86_64_64, 4: elf.R_X86_64_32, 2: elf.R_X86_64_16}
RELATIVE = {8: elf.R_X86_64_PC64, 4: elf.R_X86_64_PC32}


@dataclass
class Pending:
    """A fixup of the code from `start` to `end` in a section."""

    section: elf.Section
    start: int
    end: int
    fixup: Fixup
    line: int


def settle(pending: Pending, names: Names) -> None:
    """Write the value of a fixup, or leave a relocation for the linker."""
    fixup, at = pending.fixup, pending.start + pending.fixup.offset
    number, plus = names.reduce(fixup.sum)
    if len(plus) > 1:
        raise AsmError("a sum of two addresses")
    if not plus:
        patch(pending.section, at, fixup.size, number)
    elif fixup.pc_relative and plus[0].section is pending.section:
        distance = plus[0].value + number - pending.end
        patch(pending.section, at, fixup.size, distance, signed=True)
    else:
        addend = number - (pending.end - at if fixup.pc_relative else 0)
        kind = relocation_kind(fixup, plus[0])
        pending.section.relocations.append(elf.Relocation(at, kind, plus[0], addend))


def relocation_kind(fixup: Fixup, symbol: elf.Symbol) -> int:
    kinds = RELATIVE if fixup.pc_relative else ABSOLUTE
    if fixup.size not in kinds:
        raise AsmError(f"{fixup.size} bytes cannot hold the address of `{symbol.name}`")
    if fixup.branch and symbol.section is None:
        return elf.R_X86_64_PLT32
    if fixup.signed and not fixup.pc_relative and fixup.size == 4:
        return elf.R_X86_64_32S
    return kinds[fixup.size]


def patch(section: elf.Section, at: int, size: int, value: int, signed: bool = False) -> None:
    low, high = -(1 << 8 * size - 1), 1 << 8 * size - signed
    if not low <= value < high:
        raise AsmError(f"{value:#x} does not fit in {size} bytes")
    section.data[at : at + size] = (value & (1 << 8 * size) - 1).to_bytes(size, "little")
