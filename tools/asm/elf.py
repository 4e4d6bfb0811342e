"""Write a relocatable ELF64 object. Source: System V ABI, chapter 4, and its x86-64 supplement."""

import struct
from dataclasses import dataclass, field

SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA, SHT_NOTE, SHT_NOBITS = 1, 2, 3, 4, 7, 8
SHF_WRITE, SHF_ALLOC, SHF_EXECINSTR, SHF_INFO_LINK = 1, 2, 4, 0x40
STB_LOCAL, STB_GLOBAL, STB_WEAK = 0, 1, 2
STT_NOTYPE, STT_OBJECT, STT_FUNC, STT_SECTION = 0, 1, 2, 3
R_X86_64_64, R_X86_64_PC32, R_X86_64_PLT32, R_X86_64_32, R_X86_64_32S, R_X86_64_16 = (
    1,
    2,
    4,
    10,
    11,
    12,
)
R_X86_64_PC64 = 24


@dataclass
class Symbol:
    """`section` is None for an external symbol."""

    name: str
    section: "Section | None" = None
    value: int = 0
    size: int = 0
    binding: int = STB_LOCAL
    kind: int = STT_NOTYPE


@dataclass
class Relocation:
    offset: int
    kind: int
    symbol: Symbol
    addend: int


@dataclass
class Section:
    name: str
    flags: int
    kind: int = SHT_PROGBITS
    align: int = 1
    data: bytearray = field(default_factory=bytearray)
    nobits_size: int = 0
    relocations: list[Relocation] = field(default_factory=list)

    @property
    def size(self) -> int:
        return self.nobits_size if self.kind == SHT_NOBITS else len(self.data)


class StringTable:
    def __init__(self):
        self.data = bytearray(1)

    def add(self, text: str) -> int:
        if not text:
            return 0
        self.data += text.encode() + b"\0"
        return len(self.data) - len(text.encode()) - 1


def write_object(sections: list[Section], symbols: list[Symbol], source: str) -> bytes:
    """Lay out header, section contents, symbol table, relocations and section headers."""
    numbers = {id(section): i for i, section in enumerate(sections, 1)}
    ordered = sorted(symbols, key=lambda symbol: symbol.binding != STB_LOCAL)
    indices = {id(symbol): i for i, symbol in enumerate(ordered, 2)}
    strings = StringTable()
    first_global = 2 + sum(symbol.binding == STB_LOCAL for symbol in ordered)
    symtab = bytes(24) + struct.pack("<IBBHQQ", strings.add(source), 4, 0, 0xFFF1, 0, 0)
    for symbol in ordered:
        number = numbers[id(symbol.section)] if symbol.section else 0
        info = symbol.binding << 4 | symbol.kind
        symtab += struct.pack(
            "<IBBHQQ", strings.add(symbol.name), info, 0, number, symbol.value, symbol.size
        )

    table = [(s.name, s.kind, s.flags, bytes(s.data), s.size, 0, 0, s.align, 0) for s in sections]
    symtab_number = len(sections) + 1 + sum(bool(s.relocations) for s in sections)
    for section in sections:
        if section.relocations:
            data = b"".join(
                struct.pack("<QQq", r.offset, indices[id(r.symbol)] << 32 | r.kind, r.addend)
                for r in section.relocations
            )
            link = (symtab_number, numbers[id(section)])
            table.append(
                (f".rela{section.name}", SHT_RELA, SHF_INFO_LINK, data, len(data), *link, 8, 24)
            )
    table.append(
        (".symtab", SHT_SYMTAB, 0, symtab, len(symtab), symtab_number + 1, first_global, 8, 24)
    )
    table.append((".strtab", SHT_STRTAB, 0, bytes(strings.data), len(strings.data), 0, 0, 1, 0))
    return link_up(table)


def link_up(table: list[tuple]) -> bytes:
    """Place the sections of `table` one after the other and append their headers."""
    names = StringTable()
    table = [*table, (".shstrtab", SHT_STRTAB, 0, b"", 0, 0, 0, 1, 0)]
    name_offsets = [names.add(row[0]) for row in table]
    table[-1] = (".shstrtab", SHT_STRTAB, 0, bytes(names.data), len(names.data), 0, 0, 1, 0)
    body, headers = bytearray(64), bytearray(64)
    for name, (_, kind, flags, data, size, link, info, align, entry) in zip(
        name_offsets, table, strict=True
    ):
        body += bytes(-len(body) % align)
        headers += struct.pack(
            "<IIQQQQIIQQ", name, kind, flags, 0, len(body), size, link, info, align, entry
        )
        body += data
    body += bytes(-len(body) % 8)
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    counts = (64, 0, 0, 64, len(table) + 1, len(table))
    body[:64] = ident + struct.pack("<HHIQQQIHHHHHH", 1, 62, 1, 0, 0, len(body), 0, *counts)
    return bytes(body + headers)
