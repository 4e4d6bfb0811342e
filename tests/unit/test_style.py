"""The tools that look after style are content with every file, and docstrings are whole."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOUSE = ("kernel", "libos", "drivers", "linetable", "tools", "tests")
SECTION = "(Hypercall|Source|Args|Returns|Errors|Locks|Context)"
# What a formatter leaves that moves the rest of a first line into a paragraph of its own.
TORN = re.compile(rf"\b{SECTION}[.:]\n\n|\n\n *(-E[A-Z0-9]+|GNTST_\w+)\b|\b{SECTION}\.$", re.M)


@pytest.mark.parametrize("check", (["check"], ["format", "--check"]), ids=" ".join)
def test_ruff_is_content(check):
    done = subprocess.run(
        [sys.executable, "-m", "ruff", *check], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


MOST_PARAMETERS = 5
# Functions of the core with more, beside the handlers of hypercalls: why.
MORE_PARAMETERS = {
    "call_handler": "the registers of a hypercall, one each",
    "pin_grant": "what a grant is used as, by whom and how",
    "replace_l1e": "inlined into the hottest path: what one entry was, becomes, and for whom",
    "change_l1e": "the same, for who has read the entry before",
    "update_upper_entry": "the same one level up, not inlined because it is long",
    "serve_batch": "the registers of mmu_update, inlined, and what was decoded of them",
    "serve_other": "the same, not inlined, for the rare call about another domain's tables",
    "serve_list": "the same of mmuext_op",
}


def docstrings(path):
    """Return (line, docstring) of everything in a file that has one."""
    kinds = (ast.FunctionDef, ast.ClassDef, ast.Module)
    nodes = [node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, kinds)]
    return [(getattr(node, "lineno", 1), ast.get_docstring(node) or "") for node in nodes]


def test_no_docstring_is_torn():
    files = [path for folder in HOUSE for path in sorted((ROOT / folder).rglob("*.py"))]
    assert len(files) > 300
    torn = [
        f"{path.relative_to(ROOT)}:{line}: {text.splitlines()[0]}"
        for path in files
        for line, text in docstrings(path)
        if TORN.search(text)
    ]
    assert torn == []


@pytest.mark.parametrize(
    "text",
    [
        "Forget it. Locks.\n\nBoth event locks, held.",
        "Serve it. Errors:\n\n-EFAULT.",
        "Decode it. Errors: -ESRCH.\n\n-EPERM, not its own.",
    ],
)
def test_a_torn_docstring_is_seen(text):
    assert TORN.search(text)


def test_a_whole_docstring_is_not_taken_for_torn():
    assert not TORN.search("Serve it.\n\nErrors: -EFAULT;\n-EPERM, not its own.\nLocks: none.")


def core_functions():
    """Return all functions of the core but what takes a hypercall's registers, by their names."""
    return [
        node
        for path in sorted((ROOT / "kernel").rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef)
        and not any(
            ast.unparse(text).startswith(("hypercall(", "stands_before("))
            for text in node.decorator_list
        )
    ]


def test_many_parameters_have_a_reason():
    many = {node.name for node in core_functions() if len(node.args.args) > MOST_PARAMETERS}
    assert many == set(MORE_PARAMETERS)


def test_d_is_a_domain_everywhere():
    named = [
        (node.name, ast.unparse(parameter.annotation))
        for node in core_functions()
        for parameter in node.args.args
        if parameter.arg == "d"
    ]
    assert len(named) > 100
    assert [(name, kind) for name, kind in named if "Domain" not in kind] == []
