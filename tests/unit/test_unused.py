"""The core keeps nothing that nobody uses: no function, constant or parameter."""

import ast
import io
import re
import tokenize
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
CORE = sorted((ROOT / "kernel").rglob("*.py"))
READERS = ("kernel", "tests", "tools", "linetable")  # of the core's names; assembly too
WORD = re.compile(r"\w+")
# Lists that are whole because the manuals' are.
WHOLE_LISTS = {"kernel/x86/vectors.py"}
# What decorators hand on: a table or an event calls it, with arguments of a fixed shape.
GIVEN_AWAY = ("asm", "extern", "formatter", "export", "idle")
FIXED_SHAPE = {
    "slice_is_over": "a timer's function",
    "begin": "kind: a type, which the result has",
    "view": "kind: a type, which the result has",
}


def words(path):
    """Return the names in a file, with those in its strings but not in its docstrings."""
    if path.suffix != ".py":
        return WORD.findall(path.read_text())
    found = []
    for token in tokenize.generate_tokens(io.StringIO(path.read_text()).readline):
        if token.type == tokenize.NAME:
            found.append(token.string)
        elif token.type == tokenize.STRING and '"""' not in token.string:
            found += WORD.findall(token.string)
    return found


def count_words():
    """Return how often each word stands in all files that could use a name of the core."""
    paths = [path for folder in READERS for path in (ROOT / folder).rglob("*")]
    suffixes = (".py", ".asm", ".lds")
    return Counter(word for path in paths if path.suffix in suffixes for word in words(path))


def is_given_away(function):
    """Tell whether a decorator hands a function on, so that it needs no caller."""
    texts = [ast.unparse(decorator) for decorator in function.decorator_list]
    return any(text.split("(")[0] in GIVEN_AWAY or "(" in text for text in texts)


def definitions(tree):
    """Return (name, line) of what a module defines for others to use."""
    found = []
    for node in tree.body:
        if (
            isinstance(node, ast.FunctionDef)
            and not is_given_away(node)
            or isinstance(node, ast.ClassDef)
        ):
            found.append((node.name, node.lineno))
        elif isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            found.append((node.targets[0].id, node.lineno))
    return found


def unused_parameters(function):
    """Return the parameters that a function never looks at; a stub looks at none."""
    body = function.body[ast.get_docstring(function) is not None :]
    if not body or is_given_away(function) or function.name in FIXED_SHAPE:
        return []
    used = {node.id for part in body for node in ast.walk(part) if isinstance(node, ast.Name)}
    return [a.arg for a in function.args.args if a.arg not in used | {"self"}]


def test_every_name_is_used():
    seen = count_words()
    unused = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for path in CORE
        if str(path.relative_to(ROOT)) not in WHOLE_LISTS and path.name != "BUILD.py"
        for name, line in definitions(ast.parse(path.read_text()))
        if seen[name] < 2
    ]
    assert unused == []


def test_every_parameter_is_used():
    functions = [
        (path, node)
        for path in CORE
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
    ]
    assert len(functions) > 500
    unused = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}({name})"
        for path, function in functions
        for name in unused_parameters(function)
    ]
    assert unused == []


def test_what_is_unused_is_seen():
    code = 'def f(a: u64, b: u64) -> u64:\n    """Do."""\n    return a\nX = 1\n'
    tree = ast.parse(code)
    assert definitions(tree) == [("f", 1), ("X", 4)]
    assert unused_parameters(tree.body[0]) == ["b"]
