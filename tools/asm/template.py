"""`%` lines and braces: an assembly file is turned into a Python program that emits plain lines.

Every line of the file becomes exactly one line of that program, so Python's own line numbers are
the file's.
"""

import re
import traceback

from asm.errors import AsmError
from asm.offsets import Namespace

SIZEOF = re.compile(r"^\s*sizeof\s+(?=\w)(.*)$")
CONTINUES = re.compile(r"(else|elif|except|finally)\b")


def expand(text: str, file: str) -> list[tuple[int, str]]:
    """Return (line number, text) of every line that the template emits."""
    lines: list[tuple[int, str]] = []
    names = Namespace()
    names.update(emit=lambda number, *parts: lines.append((number, "".join(map(show, parts)))))
    try:
        exec(compile(to_python(text, file), file, "exec"), names)
    except SyntaxError as error:
        raise AsmError(f"in the template: {error.msg}", file, error.lineno) from None
    except AsmError:
        raise
    except Exception as error:
        where = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        raise AsmError(f"in the template: {error!r}", file, where[-1] if where else 1) from error
    return lines


def show(part) -> str:
    """What a value in braces becomes in the text."""
    if isinstance(part, str):
        return part
    if isinstance(part, int) and not isinstance(part, bool):
        return str(int(part))
    raise TypeError(f"braces hold {part!r}, neither a number nor text")


def to_python(text: str, file: str) -> str:
    """The program that emits the file's lines."""
    program, depth = [], 0
    for number, line in enumerate(text.splitlines(), 1):
        body = line.strip()
        if not body.startswith("%"):
            program.append("    " * depth + emit_statement(number, line, file))
            continue
        statement = re.sub(r"\s;\s.*$", "", body[1:]).strip()
        if statement == "end":
            program.append("    " * depth + "pass")
            depth -= 1
        else:
            program.append("    " * (depth - bool(CONTINUES.match(statement))) + statement)
            depth += statement.endswith(":") and not CONTINUES.match(statement)
        if depth < 0:
            raise AsmError("%end closes nothing", file, number)
    if depth:
        raise AsmError("a % block is not closed by %end", file, len(program))
    return "\n".join(program) + "\n"


def emit_statement(number: int, line: str, file: str) -> str:
    """`emit(number, 'text', expression, 'text')` for one line."""
    line = strip_comment(line)
    if not line.strip():
        return "pass"
    parts = [
        repr(text) if i % 2 == 0 else text
        for i, text in enumerate(split_braces(line, number, file))
    ]
    return f"emit({number}, {', '.join(parts)})"


def strip_comment(line: str) -> str:
    """Cut a `;` or `//` comment that is not inside quotes or braces."""
    quote, depth = "", 0
    for i, char in enumerate(line):
        if quote:
            quote = "" if char == quote and line[i - 1] != "\\" else quote
        elif char in "\"'":
            quote = char
        elif char in "{}":
            depth += 1 if char == "{" else -1
        elif depth == 0 and (char == ";" or line.startswith("//", i)):
            return line[:i]
    return line


def split_braces(line: str, number: int, file: str) -> list[str]:
    """Alternate literal text and expressions; `{{` and `}}` are literal braces."""
    pieces, text, i = [], "", 0
    while i < len(line):
        if line.startswith(("{{", "}}"), i):
            text += line[i]
            i += 2
        elif line[i] == "{":
            end = closing_brace(line, i, number, file)
            expression = SIZEOF.sub(r"sizeof(\1)", line[i + 1 : end])
            pieces += [text, f"({expression})"]
            text, i = "", end + 1
        else:
            text += line[i]
            i += 1
    return [*pieces, text]


def closing_brace(line: str, start: int, number: int, file: str) -> int:
    depth = 0
    for i in range(start, len(line)):
        depth += (line[i] == "{") - (line[i] == "}")
        if depth == 0:
            return i
    raise AsmError("a brace is not closed", file, number)
