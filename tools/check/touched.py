"""Which in-process tests a change can reach.

A test file reaches what it imports, directly or not, and what it or a helper among the tests names
in a string: `kpy.jit.load("kernel.frames.frame")`, `"kernel/abi/xen.h"`. In doubt it reaches more.
"""

import ast
import functools
import os
import re
import subprocess

from kpy.front import imports, source

from tools.setup.paths import ROOT

FOLDERS = ("unit", "model", "mutation", "fuzz", "kpy", "abi", "asm", "libos", "toolstack")
FOR_ALL = ("pyproject.toml", "tests/conftest.py", "tests/seeds.py", "tests/hosts.py")
GENERATED = "build/gen/abi.py"  # made of kernel/abi
ALWAYS = ("tests/unit/test_reading.py",)  # documents name files
BY_SUFFIX = {".asm": "tests/asm/", ".lds": "tests/kpy/"}  # found by a glob, not by name
NAME = re.compile(r"[a-z_]\w*(\.\w+)+$")
PATH = re.compile(r"[\w.-]+(/[\w.-]+)+$")


def git(*words: str) -> list[str]:
    """Return the lines that git prints; none where it fails."""
    done = subprocess.run(["git", *words], cwd=ROOT, capture_output=True, text=True)
    return done.stdout.splitlines() if done.returncode == 0 else []


def changed_files() -> list[str]:
    """Return what differs from where this branch left main, commits and working tree together."""
    base = (git("merge-base", "HEAD", "main") or ["HEAD"])[0]
    new = git("ls-files", "--others", "--exclude-standard")
    return sorted({*git("diff", "--name-only", base), *new})


def test_files() -> list[str]:
    """Return every file of in-process tests."""
    listed = git("ls-files", "--cached", "--others", "--exclude-standard", "tests")
    inside = [name for name in listed if name.split("/")[1] in FOLDERS]
    tests = [name for name in inside if os.path.basename(name).startswith("test_")]
    return [name for name in tests if os.path.exists(os.path.join(ROOT, name))]


def touched(changed: list[str]) -> list[str]:
    """Return the test files that a change of these files can reach."""
    wanted = {os.path.join(ROOT, name) for name in changed}
    if any(name.startswith("kernel/abi/") for name in changed):
        wanted.add(os.path.join(ROOT, GENERATED))
    if any(name in FOR_ALL for name in changed):
        return test_files()
    suffixes = {os.path.splitext(name)[1] for name in changed}
    always = (*ALWAYS, *(BY_SUFFIX[end] for end in BY_SUFFIX if end in suffixes))
    return [name for name in test_files() if name.startswith(always) or wanted & reached(name)]


def reached(test: str) -> set[str]:
    """Return all files that a test file reaches, itself among them."""
    folder, roots = os.path.dirname(test), [os.path.join(ROOT, test)]
    while folder:
        roots.append(os.path.join(ROOT, folder, "conftest.py"))
        folder = os.path.dirname(folder)
    found, pending = set(), [path for path in roots if os.path.exists(path)]
    while pending:
        path = pending.pop()
        if path not in found:
            found.add(path)
            pending.extend(_next(path))
    return found


@functools.cache
def _next(path: str) -> frozenset[str]:
    is_python = path.endswith(".py")
    return (imports.imported(path) | _mentioned(path)) if is_python else frozenset()


def _mentioned(path: str) -> frozenset[str]:
    """Return the files that a file among the tests names in strings, also by part of their path."""
    if not path.startswith(os.path.join(ROOT, "tests") + os.sep):
        return frozenset()
    found = set()
    for node in ast.walk(source.load(path).tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.update(_files_of(node.value))
    return frozenset(found)


def _files_of(text: str) -> list[str]:
    """Return what a string names: a module, maybe with a name in it; a file, or all of a folder."""
    if NAME.match(text):
        parts = text.split(".")
        names = (".".join(parts[:count]) for count in range(len(parts), 0, -1))
        return next(([path] for name in names if (path := imports.file_of(name))), [])
    if not PATH.match(text) and "." not in text:
        return []
    return [path for path in _tree() if path.endswith("/" + text) or f"/{text}/" in path]


@functools.cache
def _tree() -> tuple[str, ...]:
    return tuple(os.path.join(ROOT, name) for name in git("ls-files"))
