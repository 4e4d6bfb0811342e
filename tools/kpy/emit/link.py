"""Linking with LLVM's lld, which the wheel `ziglang` brings, so that it is the same everywhere."""

import importlib.util
import os
import subprocess

from kpy.emit import backend, lines
from kpy.emit.program_file import ProgramFile
from kpy.front.modules import ROOT
from kpy.lower.types import escape
from kpy.lower.unit import TRIPLE

OPTIONS = ("-nostdlib", "-static", "--gc-sections", "-O2")
LAYOUT = ("max-page-size=4096", "noexecstack", "norelro")


class LinkError(Exception):
    """What the linker said."""


def zig():
    """Return the path of the wheel's program, which is lld, and a C compiler for tests."""
    found = importlib.util.find_spec("ziglang")
    if found is None:
        raise LinkError("the linker is missing: there is no package ziglang; run `make setup`")
    return os.path.join(os.path.dirname(found.origin), "zig")


def run_linker(words, cwd=ROOT):
    """Run lld. Errors: LinkError, with what it said."""
    done = subprocess.run([zig(), "ld.lld", *words], cwd=cwd, capture_output=True, text=True)
    if done.returncode:
        raise LinkError(done.stderr.strip())


def link(target, objects, exports):
    """Link the objects; twice where the program holds its own line table, which moves no code."""
    _link(target, objects, exports)
    if target.symbol_table is not None:
        _link(target, [*objects, _symbol_object(target)], exports)
    if target.flat:
        with open(os.path.join(ROOT, target.flat), "wb") as file:
            file.write(ProgramFile(target.elf).flat())


def _link(target, objects, exports):
    roots = [word for symbol in sorted(exports) for word in ("-u", symbol)]
    layout = [word for name in LAYOUT for word in ("-z", name)]
    run_linker([*OPTIONS, *layout, *roots, "-T", target.script, "-o", target.elf, *objects])


def _symbol_object(target):
    """Make the object that holds the line table of what was linked just now."""
    data = target.symbol_table(*lines.of_program(target.elf))
    path = os.path.join(ROOT, "build", "obj", f"{target.name}.symbols.o")
    text = (
        f'target triple = "{TRIPLE}"\n'
        f'@"kpy.symbol_table" = constant [{len(data)} x i8] c"{escape(data)}", '
        'section ".symbol_table", align 8\n'
    )
    with open(path, "wb") as file:
        file.write(backend.compile_object(text, TRIPLE))
    return path


def sizes(elf):
    """A line that tells how large a program is."""
    fixed, data, zero = ProgramFile(elf).sizes()
    return f"{fixed:,} bytes of code and constants, {data:,} of data, {zero:,} zero"
