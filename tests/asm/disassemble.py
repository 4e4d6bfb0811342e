"""A readable disassembly of an object file, by capstone: a second opinion on what keystone made."""

import io

import capstone
from asm.assembler import assemble
from asm.dwarf import debug_sections
from asm.elf import SHF_EXECINSTR, write_object
from elftools.elf.elffile import ELFFile
from elftools.elf.relocation import RelocationSection

MODES = {16: capstone.CS_MODE_16, 32: capstone.CS_MODE_32, 64: capstone.CS_MODE_64}


def disassembly(text: str, file: str) -> str:
    """Every section: instructions with labels and relocations, or data as hexadecimal."""
    assembler = assemble(text, file)
    sections = [section for section in assembler.sections.values() if section.size]
    lines = []
    for section in sections:
        lines.append(f"section {section.name}")
        if section.flags & SHF_EXECINSTR:
            lines += code_lines(assembler, section)
        elif section.data:
            data = bytes(section.data)
            lines += [f"  {i:04x}  {data[i : i + 16].hex(' ')}" for i in range(0, len(data), 16)]
        lines += [
            f"  relocation {r.offset:#x} kind {r.kind} {r.symbol.name}{r.addend:+#x}"
            for r in section.relocations
        ]
    return "\n".join(lines) + "\n"


def code_lines(assembler, section) -> list[str]:
    engine = capstone.Cs(capstone.CS_ARCH_X86, MODES[assembler.widths[section.name]])
    engine.skipdata = True
    labels: dict[int, list[str]] = {}
    for symbol in assembler.names.symbols.values():
        if symbol.section is section:
            labels.setdefault(symbol.value, []).append(symbol.name)
    lines = []
    for address, _, mnemonic, operands in engine.disasm_lite(bytes(section.data), 0):
        lines += [f"{name}:" for name in labels.get(address, ())]
        lines.append(f"  {address:04x}  {mnemonic} {operands}".rstrip())
    return lines


def relocations(image: bytes) -> dict[str, list[tuple[int, int, str, int]]]:
    """Section name -> (offset, type, symbol, addend), as pyelftools reads them back."""
    elf = ELFFile(io.BytesIO(image))
    symbols = elf.get_section_by_name(".symtab")
    return {
        section.name.removeprefix(".rela"): [
            (
                r["r_offset"],
                r["r_info_type"],
                symbols.get_symbol(r["r_info_sym"]).name,
                r["r_addend"],
            )
            for r in section.iter_relocations()
        ]
        for section in elf.iter_sections()
        if isinstance(section, RelocationSection)
    }


def object_file(text: str) -> bytes:
    """An object, as `assemble_file` makes it, from text."""
    assembler = assemble(text, "test.asm")
    sections = list(assembler.sections.values())
    debug, anchors = debug_sections(assembler, sections)
    symbols = [*assembler.names.symbols.values(), *anchors]
    return write_object([*sections, *debug], symbols, "test.asm")
