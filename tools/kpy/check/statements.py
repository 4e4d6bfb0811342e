"""The frame of checking statements: a rule appends to `out`, and returns if control ends there."""

import ast

from kpy.check.context import assigned_names
from kpy.check.refusals import STATEMENTS
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
                kind = type(statement)
                name, advice = STATEMENTS.get(kind, (f"`{kind.__name__}` statement", ""))
                cx.error(statement, f"kernel Python has no {name}", help=advice)
            ended = check(cx, statement, out) or ended
        except LayoutError as error:
            cx.program.layout_error(error)
            cx.has_errors = True
            _poison(cx, statement)
        except Reported:
            cx.has_errors = True
            _poison(cx, statement)
    return out, ended


def _poison(cx, statement):
    """Mark what an erroneous statement would have assigned: its uses are not reported too."""
    simple = isinstance(statement, (ast.Assign, ast.AnnAssign, ast.For))
    names = assigned_names([statement]) if simple else _defined_names(statement)
    for name in names:
        if name not in cx.vars:
            cx.declare(name, None, statement)


def _defined_names(statement):
    """What a refused definition or import would have named."""
    if isinstance(statement, (ast.Import, ast.ImportFrom)):
        return [(alias.asname or alias.name).partition(".")[0] for alias in statement.names]
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    return [statement.name] if isinstance(statement, kinds) else []
