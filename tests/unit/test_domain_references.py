"""References to domains are given back by a `with`; who does it by hand has been handed one on."""

import ast
from pathlib import Path

ROOT = Path(__file__).parents[2]

# Where `put_domain` is called by hand, and why.
BY_HAND = {
    ("frames/page_owner.py", "__exit__"): "it is the end of a with: of what find_page_owner took",
    (
        "frames/frame.py",
        "release_frame",
    ): "the last frame of a domain goes, with their reference",
    ("grant/unmap.py", "detach"): "the batch would have got it",
    ("grant/unmap.py", "complete"): "the batch was handed it",
    ("grant/copy.py", "leave_domain"): "a side keeps its domain from one request to the next",
    ("domain/life.py", "domain_kill"): "the reference that the domain was created with",
    ("memory/query.py", "get_subject"): "the caller would have got it",
}


def calls_of(tree, name):
    """Yield the functions that call another by its name."""
    for function in ast.walk(tree):
        if isinstance(function, ast.FunctionDef):
            for node in ast.walk(ast.Module(function.body, [])):
                if isinstance(node, ast.Call) and ast.unparse(node.func) == name:
                    yield function.name


def test_references_are_given_back_by_a_with():
    core = ROOT / "kernel"
    found = {
        (str(path.relative_to(core)), function)
        for path in core.rglob("*.py")
        for function in calls_of(ast.parse(path.read_text()), "put_domain")
    }
    assert found == set(BY_HAND)


def test_a_mark_is_no_call():
    text = "@gives_back(put_domain)\ndef f():\n    return 1\ndef g():\n    put_domain(d)\n"
    assert list(calls_of(ast.parse(text), "put_domain")) == ["g"]
