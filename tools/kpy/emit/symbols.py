"""What the parts of a program need of each other by name: said with file and line, before ld would
say it without.

Kernel Python needs what it declares by `@extern` and `static(…, extern=True)`, assembly what it
declares by `.extern`, the linker script its entry and what it computes with.
"""

import contextlib
import difflib
import os
import re
from dataclasses import dataclass

from asm.errors import AsmError
from asm.template import expand

from kpy.front import modules, source
from kpy.front.diagnostics import Diagnostic, display
from kpy.front.modules import ROOT

SCRIPT_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)
SCRIPT_VALUE = re.compile(r"(?:^|(?<=[\s{;(]))(\.|[A-Za-z_]\w*)\s*=(?!=)\s*([^;]*);")
SCRIPT_NAME = re.compile(r"\b[A-Za-z_]\w*\b(?!\s*\()")
ENTRY = re.compile(r"\bENTRY\s*\(\s*([\w.$]+)")
DIRECTIVE = re.compile(r"\s*\.(extern|globa?l|weak)\s+(.*)")


@dataclass
class Need:
    """A symbol, and the place that refers to it."""

    symbol: str
    path: str
    line: int


def undefined(program, target, members, everything):
    """Report every symbol that some part of a target needs and none defines.

    Args: members: the modules of the program; everything: the instances of its functions.
    """
    needs, defined = _of_python(members, everything)
    for path in (*target.assembly, target.script):
        read = _of_script if path == target.script else _of_assembly
        more, names = read(os.path.join(ROOT, path))
        needs += more
        defined |= names
    reported = set()
    for need in needs:
        if need.symbol not in defined | reported:
            reported.add(need.symbol)
            program.diagnostics.add(_diagnostic(target, members, need, defined))


def _of_python(members, everything):
    """The needs of the functions, and all symbols that the modules make."""
    needs, defined = [], set()
    for instance in everything:
        function = instance.function
        if function.traits.kind == "extern":
            needs.append(Need(instance.symbol, function.path, function.tree.lineno))
        elif instance.shared:
            defined.add(instance.symbol)
    for module in members:
        for static in modules.statics_of(module):
            if not static.extern:
                defined.add(static.symbol)
    used = {static for instance in everything for static in instance.statics if static.extern}
    for static in sorted(used, key=lambda static: static.symbol):
        path = static.scope["__file__"]
        needs.append(Need(static.symbol, path, _line(path, rf"^{static.name}\s*(:.*)?=")))
    root = next((module for module in members if module.__file__), None)
    if root is not None:  # the checks of every function call it
        needs.append(Need("kpy_panic", root.__file__, 1))
    return needs, defined


def _of_assembly(path):
    """What a file declares by `.extern`, at its first use, and what it makes `.global`."""
    needs, defined = [], set()
    with contextlib.suppress(AsmError, OSError):  # the assembler will say it
        with open(path, encoding="utf-8") as file:
            lines = list(expand(file.read(), path))
        for number, text in lines:
            if not (found := DIRECTIVE.match(text)):
                continue
            names = [name.strip() for name in found[2].split(";")[0].split(",")]
            if found[1] == "extern":
                needs += [Need(name, path, _first_use(lines, name, number)) for name in names]
            else:
                defined.update(names)
    return needs, defined


def _first_use(lines, name, declared):
    """The first line that is no directive and holds the name."""
    word = re.compile(rf"(?<![\w.$]){re.escape(name)}(?![\w.$])")
    for number, text in lines:
        if not DIRECTIVE.match(text) and word.search(text.split(";")[0]):
            return number
    return declared


def _of_script(path):
    """The entry and the names in expressions of a linker script, and what it assigns."""
    needs, defined = [], set()
    with contextlib.suppress(OSError), open(path, encoding="utf-8") as file:
        blank = lambda found: "\n" * found[0].count("\n")  # noqa: E731
        for number, text in enumerate(SCRIPT_COMMENT.sub(blank, file.read()).splitlines(), 1):
            names = ENTRY.findall(text)
            for name, value in SCRIPT_VALUE.findall(text):
                defined.add(name)
                names += SCRIPT_NAME.findall(value)
            needs += [Need(name, path, number) for name in names]
    return needs, defined


def _line(path, pattern):
    """The first line of a file that a pattern matches; 1 where none does."""
    for number, text in enumerate(source.load(path).lines, 1):
        if re.match(pattern, text):
            return number
    return 1


def _diagnostic(target, members, need, defined):
    """The error: at a function that only lacks its `@export`, else at the place of the need."""
    for module in members:
        python = vars(module).get(need.symbol)
        if python in modules.functions_of(module) and modules.traits_of(python).kind == "plain":
            line = _line(module.__file__, rf"def {need.symbol}\b")
            where = f"{display(need.path)}:{need.line}"
            return _at(
                Need(need.symbol, module.__file__, line),
                f"`{need.symbol}` is needed by {where}, but it is no symbol of `{target.name}`",
                "write `@export` above it",
            )
    close = difflib.get_close_matches(need.symbol, defined, 1)
    advice = f"did you mean `{close[0]}`? " if close else ""
    advice += (
        f"`@export` a function of that name in a module of `{target.name}` "
        f"({', '.join(target.roots)}), or define it in one of its assembly files"
    )
    return _at(need, f"no part of `{target.name}` defines `{need.symbol}`", advice)


def _at(need, message, advice):
    text = source.line_of(need.path, need.line)
    start = max(0, text.find(need.symbol))
    end = start + len(need.symbol) if need.symbol in text else len(text)
    return Diagnostic(need.path, need.line, start, end, message, help=advice)
