"""Which files a file imports, by its text: nothing is run."""

import ast
import functools
import os
import sys

from kpy.front import source
from kpy.front.forward import ROOT

SEARCH = [ROOT, os.path.join(ROOT, "tools"), os.path.join(ROOT, "build", "gen")]


def _bases():
    """Where the modules of this tree are looked for."""
    inside = [p for p in sys.path if p.startswith(ROOT) and "site-packages" not in p]
    return dict.fromkeys([*SEARCH, *inside])


@functools.cache
def file_of(name):
    """The file of a module of this tree, or None."""
    for base in _bases():
        path = os.path.join(base, *name.split("."))
        for candidate in (f"{path}.py", os.path.join(path, "__init__.py")):
            if os.path.isfile(candidate):
                return candidate
    return None


@functools.cache
def imported(path):
    """The files that a file imports itself, wherever in it, with the packages that they are in."""
    try:
        tree = source.load(path).tree
    except (OSError, SyntaxError, UnicodeDecodeError):
        return frozenset()
    package = _package(path)
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names.add(base)
            names.update(f"{base}.{alias.name}" for alias in node.names)
    parts = {name.rsplit(".", count)[0] for name in names for count in range(name.count(".") + 1)}
    return frozenset(found for part in parts if (found := file_of(part)))


def _package(path):
    folder = os.path.dirname(path)
    for base in sorted(_bases(), key=len, reverse=True):
        if folder == base or folder.startswith(base + os.sep):
            return [part for part in folder[len(base) + 1 :].split(os.sep) if part]
    return []


def closure(paths):
    """These files and all that they import, directly or not."""
    found, pending = set(), list(paths)
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending.extend(imported(path))
    return found
