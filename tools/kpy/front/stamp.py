"""Knowing that nothing changed: the digests of all files that went into a program.

Files are named from the root of the tree, so that a copy of the tree looks at its own.
"""

import glob
import hashlib
import json
import os
from importlib.metadata import version

from kpy.front.forward import ROOT

WHEELS = ("llvmlite", "ziglang")  # code generator and linker


class Stamp:
    """The record of a target's last build."""

    def __init__(self, folder, target):
        self.path, self.target = os.path.join(folder, f"{target.name}.stamp"), target

    def is_current(self):
        """Whether the outputs are there, and every input is what it was."""
        try:
            with open(self.path, encoding="utf-8") as file:
                known = json.load(file)
            same = known["made by"] == self._made_by() and self._has_outputs()
            return same and all(_digest(name) == was for name, was in known["inputs"].items())
        except (OSError, ValueError, KeyError):
            return False

    def write(self, loaded, started):
        """Record the inputs; not if one was edited after the build started, and may be half in."""
        inputs = self._inputs(loaded)
        if any(os.path.getmtime(os.path.join(ROOT, name)) >= started for name in inputs):
            return
        with open(self.path, "w", encoding="utf-8") as file:
            digests = {name: _digest(name) for name in inputs}
            json.dump({"made by": self._made_by(), "inputs": digests}, file)

    def _made_by(self):
        """What besides files decides about the outputs."""
        return [self.target.describe(), [f"{name} {version(name)}" for name in WHEELS]]

    def _has_outputs(self):
        flat = [os.path.join(ROOT, self.target.flat)] if self.target.flat else []
        return all(map(os.path.exists, [self.target.elf, *flat]))

    def _inputs(self, loaded):
        """The program's modules, the target's own files, and the tools."""
        named = [os.path.join(ROOT, path) for path in (self.target.script, *self.target.assembly)]
        named += [self.target.path] if self.target.path else []
        folders = ("tools/kpy", "tools/asm", "tools/dwarf")
        tools = [path for folder in folders for path in _python_files(folder)]
        return sorted({os.path.relpath(path, ROOT) for path in (*tools, *named, *loaded)})


def _python_files(folder):
    """The Python files below a folder."""
    return glob.glob(os.path.join(ROOT, folder, "**", "*.py"), recursive=True)


def _digest(name):
    with open(os.path.join(ROOT, name), "rb") as file:
        return hashlib.sha256(file.read()).hexdigest()
