"""Just enough DWARF 4 for debuggers and backtraces to show the assembly line. Source: DWARF 4, 6.2
and 7.5.
"""

import struct
from pathlib import Path

from asm import elf

DW_LNS_copy, DW_LNS_advance_pc, DW_LNS_advance_line, DW_LNE_end_sequence, DW_LNE_set_address = (
    1,
    2,
    3,
    1,
    2,
)
# One kind of entry: compile unit with statement list, language, name, directory and address ranges.
ABBREVIATIONS = bytes(
    [1, 0x11, 0, 0x10, 0x17, 0x13, 0x05, 0x03, 0x08, 0x1B, 0x08, 0x55, 0x17, 0x11, 0x01, 0, 0, 0]
)
DW_LANG_Mips_Assembler = 0x8001


def uleb(value: int) -> bytes:
    out = bytearray()
    while True:
        out.append(value & 0x7F | (0x80 if value > 0x7F else 0))
        value >>= 7
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    out = bytearray()
    while True:
        byte, value = value & 0x7F, value >> 7
        done = value == (-1 if byte & 0x40 else 0)
        out.append(byte | (0 if done else 0x80))
        if done:
            return bytes(out)


def debug_sections(assembler, sections) -> tuple[list[elf.Section], list[elf.Symbol]]:
    """.debug_line, .debug_info, .debug_abbrev and .debug_ranges for the executable sections, and
    their section symbols.
    """
    code = [s for s in sections if s.flags & elf.SHF_EXECINSTR and s.size]
    if not code:
        return [], []
    anchors = [elf.Symbol("", section, kind=elf.STT_SECTION) for section in code]
    line, info, abbrev, ranges = (
        elf.Section(f".debug_{n}", 0) for n in ("line", "info", "abbrev", "ranges")
    )
    tables = {s.name: elf.Symbol("", s, kind=elf.STT_SECTION) for s in (line, abbrev, ranges)}
    path = Path(assembler.file)
    if path.is_relative_to(Path.cwd()):  # which is the compilation directory
        path = path.relative_to(Path.cwd())
    line.data += line_header(path)
    for section, anchor in zip(code, anchors, strict=True):
        rows = [(offset, number) for s, offset, number in assembler.lines if s is section]
        line_sequence(line, section, anchor, rows)
        for offset in (0, section.size):
            ranges.relocations.append(
                elf.Relocation(len(ranges.data), elf.R_X86_64_64, anchor, offset)
            )
            ranges.data += bytes(8)
    ranges.data += bytes(16)
    line.data[0:4] = struct.pack("<I", len(line.data) - 4)
    abbrev.data += ABBREVIATIONS
    unit(info, tables, path)
    return [line, info, abbrev, ranges], [*anchors, *tables.values()]


def line_header(path: Path) -> bytes:
    """Version 4, no special opcodes used (opcode_base 10, line_range 1), one file."""
    lengths = bytes([0, 1, 1, 1, 1, 0, 0, 0, 1])
    rest = bytes([1, 1, 1, 0, 1, 10]) + lengths + b"\0" + str(path).encode() + b"\0\0\0\0" + b"\0"
    return struct.pack("<IHI", 0, 4, len(rest)) + rest


def line_sequence(line: elf.Section, section: elf.Section, anchor: elf.Symbol, rows) -> None:
    line.data += bytes([0, 9, DW_LNE_set_address])
    line.relocations.append(elf.Relocation(len(line.data), elf.R_X86_64_64, anchor, 0))
    line.data += bytes(8)
    at, number = 0, 1
    for offset, source in rows:
        line.data += bytes([DW_LNS_advance_pc]) + uleb(offset - at)
        line.data += bytes([DW_LNS_advance_line]) + sleb(source - number) + bytes([DW_LNS_copy])
        at, number = offset, source
    line.data += (
        bytes([DW_LNS_advance_pc]) + uleb(section.size - at) + bytes([0, 1, DW_LNE_end_sequence])
    )


def unit(info: elf.Section, tables: dict[str, elf.Symbol], path: Path) -> None:
    """The one entry; offsets into the other tables are relocated, since the linker joins them."""
    offsets = [(6, ".debug_abbrev"), (12, ".debug_line")]
    body = (
        struct.pack("<HIB", 4, 0, 8)
        + uleb(1)
        + bytes(4)
        + struct.pack("<H", DW_LANG_Mips_Assembler)
    )
    body += str(path).encode() + b"\0" + str(Path.cwd()).encode() + b"\0"
    offsets.append((4 + len(body), ".debug_ranges"))
    body += bytes(4) + bytes(8)
    info.data += struct.pack("<I", len(body)) + body
    for at, table in offsets:
        info.relocations.append(elf.Relocation(at, elf.R_X86_64_32, tables[table], 0))
