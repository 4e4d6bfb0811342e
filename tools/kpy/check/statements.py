"""The frame of checking statements: a rule appends to `out`, and returns if control ends there."""

import ast

from kpy.check.context import assigned_names
from kpy.check.table import Table
from kpy.front.diagnostics import Reported
from kpy.front.structs import LayoutError

RULES = Table()
rule = RULES.of


def block(cx, statements):
    """Check statements in order; an error in one does not hide those in the next."""
    out, ended = [], False
    for statement in statements:
        try:
            check = RULES.get(type(statement))
            if check is None:
                kind = type(statement).__name__
                cx.error(statement, f"kernel Python has no such statement ({kind})")
            ended = check(cx, statement, out) or ended
        except LayoutError as error:
            cx.program.layout_error(error)
            _poison(cx, statement)
        except Reported:
            _poison(cx, statement)
    return out, ended


def _poison(cx, statement):
    """Mark what an erroneous statement would have assigned: its uses are not reported too."""
    simple = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.For))
    for name in assigned_names([statement]) if simple else ():
        if name not in cx.vars:
            cx.declare(name, None, statement)
