"""What a linked program knows of its source, for the line table that it carries itself."""

from dwarf.source import SourceMap

from kpy.front.modules import ROOT


def of_program(elf):
    """Return the functions and rows of an ELF file, as `Target.symbol_table` takes them."""
    source = SourceMap(elf, ROOT)
    functions = [(function.address, function.name) for function in source.functions]
    end = max(function.end for function in source.functions)
    rows = {function.address: list(_rows(source, function)) for function in source.functions}
    return [*functions, (end, "")], rows


def _rows(source, function):
    """Yield (address, frames) wherever in a function the line, or the inlined call, changes."""
    before = None
    for address in source.changes(function):
        frames = [(f.function, f.file, f.line) for f in reversed(source.find(address))]
        if frames[-1][2] == 0:
            frames = []  # code of no line belongs to what came before it
        if frames and frames != before:
            yield address, frames
            before = frames
