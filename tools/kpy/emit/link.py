"""Linking, with GNU ld, and what is made of the result."""

import os
import subprocess

from kpy.emit import backend, lines
from kpy.front.modules import ROOT
from kpy.lower.types import escape
from kpy.lower.unit import TRIPLE


class LinkError(Exception):
    """What ld or objcopy said."""


def run(command):
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if done.returncode:
        raise LinkError(f"{' '.join(command[:1])}: {done.stderr.strip()}")
    return done.stdout


def link(target, objects, exports):
    """Link the objects; twice where the program holds its own line table, which moves no code."""
    _link(target, objects, exports)
    if target.symbol_table is not None:
        _link(target, [*objects, _symbol_object(target)], exports)
    if target.flat:
        run(["objcopy", "-O", "binary", target.elf, os.path.join(ROOT, target.flat)])


def _link(target, objects, exports):
    roots = [word for symbol in sorted(exports) for word in ("-u", symbol)]
    options = [
        "-nostdlib",
        "-static",
        "--gc-sections",
        "-z",
        "max-page-size=4096",
        "-z",
        "noexecstack",
    ]
    run(
        [
            "ld",
            *options,
            "--no-warn-rwx-segments",
            *roots,
            "-T",
            target.script,
            "-o",
            target.elf,
            *objects,
        ]
    )


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
    text, data, bss, *_ = run(["size", elf]).splitlines()[1].split()
    return f"{int(text):,} bytes of code and constants, {int(data):,} of data, {int(bss):,} zero"
