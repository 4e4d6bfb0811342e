"""What names mean: labels, constants, and names that the linker will know."""

from asm import elf
from asm.errors import AsmError
from asm.expression import Sum


class Names:
    """The names of one file. A label without a section yet may still come, or be external."""

    def __init__(self):
        self.symbols: dict[str, elf.Symbol] = {}
        self.externals: set[str] = set()
        self.constants: dict[str, int] = {}

    def define(self, name: str, section: elf.Section) -> None:
        """Put a label at the end of a section."""
        symbol = self.symbols.setdefault(name, elf.Symbol(name))
        if symbol.section:
            raise AsmError(f"label `{name}` is defined twice")
        symbol.section, symbol.value = section, section.size

    def bind(self, names: str, binding: int) -> None:
        for name in names.split(","):
            self.symbols.setdefault(name.strip(), elf.Symbol(name.strip())).binding = binding

    def symbol(self, name: str) -> elf.Symbol:
        symbol = self.symbols.get(name)
        if symbol is None or (symbol.section is None and name not in self.externals):
            if name not in self.externals:
                raise AsmError(f"`{name}` is not defined; say `.extern {name}` if it is elsewhere")
            symbol = self.symbols.setdefault(name, elf.Symbol(name, binding=elf.STB_GLOBAL))
        return symbol

    def reduce(self, total: Sum) -> tuple[int, list[elf.Symbol]]:
        """Fold constants and differences of labels; what is left are symbols to add."""
        number, plus = total.number, []
        for name in total.plus:
            if name in self.constants:
                number += self.constants[name]
            else:
                plus.append(self.symbol(name))
        for name in total.minus:
            if name in self.constants:
                number -= self.constants[name]
                continue
            minus = self.symbol(name)
            partner = next((s for s in plus if s.section and s.section is minus.section), None)
            if partner is None:
                raise AsmError(f"`- {name}` has no label of its section to go with")
            plus.remove(partner)
            number += partner.value - minus.value
        return number, plus

    def measure(self, sections: list[elf.Section]) -> None:
        """Give symbols sizes: to the next one without a dot, or to the section's end."""
        for section in sections:
            tops = sorted(
                (s for s in self.symbols.values() if s.section is section and "." not in s.name),
                key=lambda s: s.value,
            )
            ends = [s.value for s in tops[1:]] + [section.size] * bool(tops)
            for symbol, end in zip(tops, ends, strict=True):
                symbol.size = end - symbol.value
                executable = section.flags & elf.SHF_EXECINSTR
                symbol.kind = elf.STT_FUNC if executable else elf.STT_OBJECT
