"""An ELF64 file as debuggers see it: named sections, functions of the symbol table.

Source: System V ABI, chapter 4. Sections that the compiler compressed count as missing.
"""

import mmap
import struct
from dataclasses import dataclass

from dwarf.bytes import Truncated, string_at
from dwarf.kallsyms import find_symbols

EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
SHDR = struct.Struct("<IIQQQQIIQQ")
SYM = struct.Struct("<IBBHQQ")
SHT_SYMTAB, SHT_NOBITS = 2, 8
SHF_EXECINSTR, SHF_COMPRESSED = 4, 0x800
STT_NOTYPE, STT_FUNC = 0, 2
TEXT_KINDS = "tTwW"
UNKNOWN_SIZE = 1 << 16  # of a function of no section, which says no size


@dataclass(frozen=True)
class Function:
    """A function or label: its code ends where the next one begins, or its section."""

    address: int
    end: int
    name: str


class Image:
    """A mapped ELF64 file. Errors: OSError; Truncated, it is no such file."""

    def __init__(self, path):
        with open(path, "rb") as file:
            try:
                self.data = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
            except ValueError:
                raise Truncated("the file is empty") from None
        try:
            self._read_sections()
        except struct.error:
            raise Truncated("its ELF headers are cut off") from None

    def _read_sections(self):
        header = EHDR.unpack_from(self.data)
        if header[0][:5] != b"\x7fELF\x02":
            raise Truncated("it is no 64-bit ELF file")
        offset, count, names = header[6], header[12], header[13]
        self.headers = [SHDR.unpack_from(self.data, offset + i * SHDR.size) for i in range(count)]
        strings = self._contents(self.headers[names]) if names < count else b""
        self.names = {string_at(strings, h[0]).decode(errors="replace"): h for h in self.headers}

    def section(self, name):
        """Return the bytes of a section, empty if there is none."""
        header = self.names.get(name)
        return self._contents(header) if header else memoryview(b"")

    def _contents(self, header):
        if header[1] == SHT_NOBITS or header[2] & SHF_COMPRESSED:
            return memoryview(b"")
        return self.data[header[4] : header[4] + header[5]]

    def functions(self):
        """Return the functions and labels of the code, by rising address.

        They come from the symbol table, or from the one that a Linux kernel carries itself. Labels
        that begin with a dot or a dollar sign are the assembler's own; of several for one place one
        without leading underscores is best.
        """
        found = {}
        for address, name, limit in self._symbol_table() or self._kallsyms():
            if not name or name.startswith((".", "$")):
                continue
            if address not in found or found[address][0].startswith("_"):
                found[address] = name, limit
        starts = sorted(found)
        ends = [*starts[1:], 1 << 64][: len(starts)]
        return [
            Function(start, min(end, found[start][1]), found[start][0])
            for start, end in zip(starts, ends, strict=True)
        ]

    def _symbol_table(self):
        """Return (address, name, where it ends at the latest) of the symbols of code."""
        found = []
        for section in self.headers:
            if section[1] == SHT_SYMTAB and section[6] < len(self.headers):
                names = self._contents(self.headers[section[6]])
                for symbol in self._code_symbols(section):
                    name = string_at(names, symbol[0]).decode(errors="replace")
                    found.append((symbol[4], name, self._limit(symbol)))
        return found

    def _kallsyms(self):
        symbols = find_symbols(bytes(self.data)).items()
        code = [(address, name) for name, (address, kind) in symbols if kind in TEXT_KINDS]
        return [(address, name, address + UNKNOWN_SIZE) for address, name in sorted(code)]

    def _code_symbols(self, section):
        table = self._contents(section)
        for symbol in SYM.iter_unpack(table[: len(table) // SYM.size * SYM.size]):
            index = symbol[3]
            kind = symbol[1] & 15
            if kind == STT_FUNC and index or kind == STT_NOTYPE and self._is_code(symbol):
                yield symbol

    def _is_code(self, symbol):
        """Say whether a label lies in a section of code."""
        if not 0 < symbol[3] < len(self.headers):
            return False
        flags, start, size = (self.headers[symbol[3]][i] for i in (2, 3, 5))
        return bool(flags & SHF_EXECINSTR) and start <= symbol[4] < start + size

    def _limit(self, symbol):
        """Return where a function's code ends at the latest."""
        if self._is_code(symbol):
            header = self.headers[symbol[3]]
            return header[3] + header[5]
        return symbol[4] + (symbol[5] or UNKNOWN_SIZE)
