"""A C preprocessor, just large enough for the headers in kernel/abi.

It knows quoted includes, include guards (`#ifndef`, `#ifdef`, `#else`, `#endif`), object-like and
function-like macros with `##`, and comments. `#if` with an expression is refused: an ABI header
that needs one has two forms, and we have one.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

IDENTIFIER = re.compile(r"[A-Za-z_]\w*")
MAX_EXPANSIONS = 64


class HeaderError(Exception):
    """A header that this preprocessor or the parser refuses, as file:line: text."""


@dataclass(frozen=True)
class Macro:
    """`params` is None for an object-like macro; `where` is its header."""

    name: str
    params: tuple[str, ...] | None
    body: str
    where: str


@dataclass
class Preprocessor:
    """State of one run; `lines` is the output, with line markers that pycparser understands."""

    root: Path
    macros: dict[str, Macro] = field(default_factory=dict)
    lines: list[str] = field(default_factory=list)
    inputs: set[Path] = field(default_factory=set)

    def include(self, path: Path) -> None:
        """Append the expansion of one header."""
        path = path.resolve()
        self.inputs.add(path)
        where = str(path.relative_to(self.root.resolve()))
        active = [True]
        self.lines.append(f'# 1 "{where}"')
        for number, line in logical_lines(path.read_text()):
            if not line.startswith("#"):
                if active[-1] and line.strip():
                    self.lines += [f'# {number} "{where}"', self.expand(line)]
                continue
            word, _, rest = line[1:].strip().partition(" ")
            try:
                self.directive(word, rest.strip(), path, where, active)
            except HeaderError as error:
                raise HeaderError(f"{path}:{number}: {error}") from None

    def directive(self, word: str, rest: str, path: Path, where: str, active: list[bool]) -> None:
        if word in ("ifdef", "ifndef"):
            active.append(active[-1] and ((rest in self.macros) == (word == "ifdef")))
        elif word == "else":
            active[-1] = active[-2] and not active[-1]
        elif word == "endif":
            active.pop()
        elif not active[-1]:
            return
        elif word == "include":
            if rest.startswith('"'):
                self.include(path.parent / rest.strip('"'))
        elif word == "define":
            self.define(rest, where)
        else:
            raise HeaderError(f"#{word} is not supported")

    def define(self, text: str, where: str) -> None:
        match = re.match(r"(\w+)(\(([^)]*)\))?\s*(.*)", text, re.DOTALL)
        name, parens, params, body = match.groups()
        names = tuple(p.strip() for p in params.split(",")) if parens else None
        self.macros[name] = Macro(name, names, body.strip(), where)

    def expand(self, text: str) -> str:
        """Replace macros until none is left."""
        for _ in range(MAX_EXPANSIONS):
            replaced = self.expand_once(text)
            if replaced == text:
                return text
            text = replaced
        raise HeaderError(f"a macro expands to itself: {text}")

    def expand_once(self, text: str) -> str:
        for match in IDENTIFIER.finditer(text):
            macro = self.macros.get(match.group())
            if macro is None:
                continue
            if macro.params is None:
                return text[: match.start()] + macro.body + text[match.end() :]
            if text[match.end() :].lstrip().startswith("("):
                arguments, end = macro_arguments(text, match.end())
                return text[: match.start()] + substitute(macro, arguments) + text[end:]
        return text


def logical_lines(text: str):
    """Yield (line number, line) without comments and with continued lines joined."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group().count("\n"), text, flags=re.DOTALL)
    pending, start = "", 0
    for number, line in enumerate(text.splitlines(), 1):
        start = start or number
        if line.endswith("\\"):
            pending += line[:-1] + " "
            continue
        yield start, pending + line
        pending, start = "", 0


def macro_arguments(text: str, start: int) -> tuple[list[str], int]:
    """Split `(a, f(b, c))` at its outer commas; also return where it ends."""
    begin = text.index("(", start) + 1
    depth, arguments, piece = 1, [], begin
    for i in range(begin, len(text)):
        char = text[i]
        depth += (char == "(") - (char == ")")
        if depth == 0 or (depth == 1 and char == ","):
            arguments.append(text[piece:i].strip())
            piece = i + 1
        if depth == 0:
            return arguments, i + 1
    raise HeaderError(f"unbalanced parentheses: {text}")


def substitute(macro: Macro, arguments: list[str]) -> str:
    values = dict(zip(macro.params, arguments, strict=True))
    body = IDENTIFIER.sub(
        lambda m: values.get(m.group(), m.group()), re.sub(r"\s*##\s*", "\0", macro.body)
    )
    return body.replace("\0", "")
