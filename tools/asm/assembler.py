"""Lines to sections: labels, directives, instructions. What waits for a label comes last."""

import ast
import re
from pathlib import Path

from asm import elf
from asm.errors import AsmError
from asm.expression import Sum, parse_sum
from asm.instruction import Fixup, encode
from asm.names import Names
from asm.settle import Pending, settle
from asm.template import expand

LABEL = re.compile(r"\s*(\.?[A-Za-z_$][\w$]*)\s*:(?!\S*:)\s*")
KNOWN_FLAGS = {".text": "ax", ".rodata": "a", ".data": "aw", ".bss": "awn", ".note": "a"}
DATA_SIZES = {".byte": 1, ".word": 2, ".long": 4, ".quad": 8}
NOPS = [
    bytes.fromhex(code)
    for code in ("", "90", "6690", "0f1f00", "0f1f4000", "0f1f440000", "660f1f440000")
]
LONGEST_NOP = len(NOPS) - 1


class Assembler:
    """State of one file; `lines` (section, offset, source line) is for debuggers and listings."""

    def __init__(self, file: str):
        self.file = file
        self.names = Names()
        self.sections: dict[str, elf.Section] = {}
        self.pending: list[Pending] = []
        self.widths: dict[str, int] = {}
        self.lines: list[tuple[elf.Section, int, int]] = []
        self.scope = ""
        self.section = self.enter_section(".text")

    def run(self, text: str) -> None:
        """Assemble the whole text."""
        for number, line in expand(text, self.file):
            self.number = number
            try:
                self.statement(line)
            except AsmError as error:
                raise AsmError(error.text, self.file, number) from error
        for pending in self.pending:
            try:
                settle(pending, self.names)
            except AsmError as error:
                raise AsmError(error.text, self.file, pending.line) from error
        for symbol in self.names.symbols.values():
            if not symbol.section and symbol.name not in self.names.externals:
                raise AsmError(f".global {symbol.name}: it is not defined here", self.file, 1)
        self.names.measure(list(self.sections.values()))

    def statement(self, line: str) -> None:
        while match := LABEL.match(line):
            self.label(match[1])
            line = line[match.end() :]
        line = line.strip()
        if not line:
            return
        if line.startswith("."):
            word, _, rest = line.partition(" ")
            self.directive(word, rest.strip())
            return
        width = self.widths[self.section.name]
        encoded = encode(self.qualify(line), width)
        self.lines.append((self.section, self.section.size, self.number))
        self.append(encoded.code, encoded.fixups)

    def append(self, code: bytes, fixups=()) -> None:
        if self.section.kind == elf.SHT_NOBITS:
            raise AsmError(f"{self.section.name} holds no bytes, only .zero")
        start = self.section.size
        self.section.data += code
        for fixup in fixups:
            self.pending.append(Pending(self.section, start, start + len(code), fixup, self.number))

    # Names

    def qualify(self, text: str) -> str:
        """`.name` belongs to the last label without a dot."""
        return re.sub(r"(?<![\w.$\]])\.([A-Za-z_]\w*)", lambda m: f"{self.scope}.{m[1]}", text)

    def label(self, name: str) -> None:
        if name.startswith("."):
            name = self.scope + name
        else:
            self.scope = name
        self.names.define(name, self.section)

    # Directives

    def directive(self, word: str, rest: str) -> None:
        if word in (".text", ".data", ".rodata", ".bss"):
            self.section = self.enter_section(word)
        elif word in DATA_SIZES:
            self.data(DATA_SIZES[word], rest)
        elif word in (".code16", ".code32", ".code64"):
            self.widths[self.section.name] = int(word[5:])
        else:
            handler = getattr(self, f"do_{word[1:]}", None)
            if handler is None:
                raise AsmError(f"unknown directive {word}")
            handler(rest)

    def enter_section(self, name: str, flags: str | None = None) -> elf.Section:
        if name in self.sections:
            return self.sections[name]
        flags = flags or next(
            (f for p, f in KNOWN_FLAGS.items() if name == p or name.startswith(p + ".")), None
        )
        if flags is None:
            raise AsmError(f'section {name} needs flags: .section {name}, "ax"')
        bits = (
            elf.SHF_ALLOC * ("a" in flags)
            | elf.SHF_WRITE * ("w" in flags)
            | elf.SHF_EXECINSTR * ("x" in flags)
        )
        kind = (
            elf.SHT_NOBITS
            if "n" in flags
            else elf.SHT_NOTE
            if name.startswith(".note")
            else elf.SHT_PROGBITS
        )
        self.sections[name] = elf.Section(name, bits, kind, 16 if "x" in flags else 1)
        self.widths[name] = 64
        return self.sections[name]

    def do_section(self, rest: str) -> None:
        name, _, flags = rest.partition(",")
        self.section = self.enter_section(name.strip(), flags.strip().strip('"') or None)

    def do_global(self, rest: str) -> None:
        self.names.bind(rest, elf.STB_GLOBAL)

    do_globl = do_global

    def do_weak(self, rest: str) -> None:
        self.names.bind(rest, elf.STB_WEAK)

    def do_extern(self, rest: str) -> None:
        self.names.externals.update(name.strip() for name in rest.split(","))

    def do_type(self, rest: str) -> None:
        """Nothing to do: the section says it."""

    do_size = do_type

    def do_align(self, rest: str) -> None:
        align, _, fill = rest.partition(",")
        align = self.constant(align)
        if align & (align - 1):
            raise AsmError(f"alignment {align} is not a power of two")
        self.section.align = max(self.section.align, align)
        self.pad(-self.section.size % align, fill)

    def do_org(self, rest: str) -> None:
        offset, _, fill = rest.partition(",")
        if self.constant(offset) < self.section.size:
            raise AsmError(f"already at offset {self.section.size:#x}")
        self.pad(self.constant(offset) - self.section.size, fill)

    def do_zero(self, rest: str) -> None:
        self.pad(self.constant(rest), "0")

    do_skip = do_zero

    def pad(self, count: int, fill: str) -> None:
        if self.section.kind == elf.SHT_NOBITS:
            self.section.nobits_size += count
        elif self.section.flags & elf.SHF_EXECINSTR and not fill.strip():
            self.append(NOPS[-1] * (count // LONGEST_NOP) + NOPS[count % LONGEST_NOP])
        else:
            self.append(bytes([self.constant(fill or "0")]) * count)

    def do_ascii(self, rest: str) -> None:
        self.append(ast.literal_eval("b" + rest))

    def do_asciz(self, rest: str) -> None:
        self.append(ast.literal_eval("b" + rest) + b"\0")

    def do_equ(self, rest: str) -> None:
        name, _, value = rest.partition(",")
        self.names.constants[name.strip()] = self.constant(value)

    def data(self, size: int, rest: str) -> None:
        for text in rest.split(","):
            total = self.here(parse_sum(self.qualify(text)))
            self.append(bytes(size), [Fixup(0, size, total, False, False, False)])

    # Values

    def here(self, total: Sum) -> Sum:
        """Replace `.` by a label at this place."""
        if "." not in total.plus + total.minus:
            return total
        name = f".L{self.section.name}.{self.section.size:x}"
        self.names.symbols[name] = elf.Symbol(name, self.section, self.section.size)
        plus, minus = (
            tuple(name if n == "." else n for n in names) for names in (total.plus, total.minus)
        )
        return Sum(total.number, plus, minus)

    def constant(self, text: str) -> int:
        number, plus = self.names.reduce(self.here(parse_sum(self.qualify(text))))
        if plus:
            raise AsmError(f"`{text.strip()}` is not known at this place")
        return number


def assemble(text: str, file: str) -> Assembler:
    assembler = Assembler(file)
    assembler.run(text)
    return assembler


def assemble_file(path: Path | str) -> bytes:
    """The object file for an assembly file."""
    from asm import dwarf

    path = Path(path)
    assembler = assemble(path.read_text(), str(path))
    sections = [s for s in assembler.sections.values() if s.size] or list(
        assembler.sections.values()
    )
    kept = [
        s
        for s in assembler.names.symbols.values()
        if "." not in s.name or needs_relocation(sections, s)
    ]
    debug, debug_symbols = dwarf.debug_sections(assembler, sections)
    return elf.write_object([*sections, *debug], [*kept, *debug_symbols], path.name)


def needs_relocation(sections: list[elf.Section], symbol: elf.Symbol) -> bool:
    return any(r.symbol is symbol for section in sections for r in section.relocations)
