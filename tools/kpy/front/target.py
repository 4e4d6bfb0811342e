"""What a program is made of: a `BUILD.py` has variables that hold a `Target`."""

import glob
import os
import runpy
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field

from kpy.front.diagnostics import display
from kpy.front.modules import ROOT


@dataclass
class Stack:
    """A stack of a program: its bytes, the functions that begin on it, and those that may come on
    top of whatever runs there, after an exception or an event.
    """

    name: str
    size: int
    roots: list[str]
    on_top: list[str] = field(default_factory=list)


@dataclass
class Target:
    """One program.

    Args: roots: modules to import, everything they import comes along; assembly: files for `python
    -m asm`; script: the linker script; flat: also write a flat binary there, below build/;
    symbol_table: from the functions and lines of the program (`linetable.encode.make_table`) to the
    contents of section `.symbol_table`; stacks: each must hold its worst path. Paths are relative
    to the repository.
    """

    roots: list[str]
    script: str
    assembly: list[str] = field(default_factory=list)
    flat: str | None = None
    symbol_table: Callable | None = None
    group: str | None = None
    name: str = ""
    path: str = ""  # of the BUILD.py
    stacks: list[Stack] = field(default_factory=list)

    def describe(self):
        """What a stamp remembers of a target; the code of `symbol_table` is among its files."""
        stacks = [[s.name, s.size, s.roots, s.on_top] for s in self.stacks]
        return [self.roots, self.script, self.assembly, self.flat, self.name, stacks]

    @property
    def elf(self):
        return os.path.join(ROOT, "build", f"{self.name}.elf")


class BadTarget(Exception):
    """A BUILD.py does not run; the text says where and why."""


def _run(path):
    try:
        return runpy.run_path(path)
    except Exception as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == path]
        line = getattr(error, "lineno", None) or (lines[-1] if lines else 1)
        raise BadTarget(f"{display(path)}:{line}: error: {type(error).__name__}: {error}") from None


def find_targets(wanted):
    """The targets of that name or group, from every BUILD.py; all of them for `all`."""
    found = {}
    for path in sorted(glob.glob(f"{ROOT}/*/BUILD.py") + glob.glob(f"{ROOT}/*/*/BUILD.py")):
        for name, value in _run(path).items():
            for target in value if isinstance(value, list) else [value]:
                if isinstance(target, Target):
                    target.name, target.path = target.name or name, path
                    found[target.name] = target
    chosen = [t for t in found.values() if wanted in (t.name, t.group, "all")]
    return chosen, sorted({*found, *(t.group for t in found.values() if t.group)})
