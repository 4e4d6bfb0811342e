"""tools/asm: Intel-syntax assembly files to relocatable ELF64 objects. The language is in
SYNTAX.md.

template (Python lines, braces) -> assembler (labels, directives, keystone) -> elf (sections,
symbols, relocations).
"""

from asm.assembler import assemble_file
from asm.errors import AsmError

__all__ = ["AsmError", "assemble_file"]
