"""Source files: their lines, and the syntax tree of each function."""

import ast
import functools
from dataclasses import dataclass


@dataclass
class Source:
    path: str
    lines: list[str]
    functions: dict  # (first line, name) -> ast.FunctionDef


@functools.cache
def load(path):
    """Read and parse a file once."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    functions = {}
    for node in ast.walk(ast.parse(text, path)):
        if isinstance(node, ast.FunctionDef):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            functions[first, node.name] = node
    return Source(path, text.splitlines(), functions)


def line_of(path, line):
    """One line of a file, for an error message; empty where there is none."""
    try:
        with open(path, encoding="utf-8") as file:
            lines = file.read().splitlines()
    except (OSError, UnicodeDecodeError):
        return ""
    return lines[line - 1] if 0 < line <= len(lines) else ""


def definition_of(function):
    """The syntax tree of a Python function object."""
    code = function.__code__
    return load(code.co_filename).functions.get((code.co_firstlineno, code.co_name))
