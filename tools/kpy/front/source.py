"""Source files: their lines, and the syntax tree of each function."""

import ast
import functools
from dataclasses import dataclass


@dataclass
class Source:
    path: str
    lines: list[str]
    tree: ast.Module
    functions: dict  # (first line, name) -> ast.FunctionDef


@functools.cache
def load(path):
    """Read and parse a file once."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    functions, tree = {}, ast.parse(text, path)
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            first = min([node.lineno, *(decorator.lineno for decorator in node.decorator_list)])
            functions[first, node.name] = node
    return Source(path, text.splitlines(), tree, functions)


def find_field(path, qualname, field):
    """The line where a class declares a field, or of the class; 1 where neither is found."""
    line = 1
    for node in ast.walk(load(path).tree):
        if isinstance(node, ast.ClassDef) and node.name == qualname.rpartition(".")[2]:
            line = node.lineno
            for item in node.body:
                if isinstance(item, ast.AnnAssign) and getattr(item.target, "id", "") == field:
                    return item.lineno
    return line


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
