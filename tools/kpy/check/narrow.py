"""Conditions, and what they tell about values that may be None.

A local variable of an optional type is *narrowed* on the paths where a test has shown that it is
not None: its type there is the plain pointer or newtype. Only variables are narrowed, never fields:
nothing else can change a variable in between.
"""

import ast

from kpy.check import typed
from kpy.check.convert import truth
from kpy.check.expr import expression
from kpy.front.types import BOOL, is_optional


def condition(cx, node):
    """Check a condition; return it, and the variables that are non-null if it is true or false."""
    if isinstance(node, ast.BoolOp):
        return _logic(cx, node)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        test, yes, no = condition(cx, node.operand)
        if isinstance(test, typed.Const):
            return typed.Const(node, BOOL, not test.value), no, yes
        return typed.Unary(node, BOOL, "not", test), no, yes
    test = truth(cx, expression(cx, node))
    var, non_null_if = _null_test(cx, node)
    if var is None:
        return test, set(), set()
    return (test, {var}, set()) if non_null_if else (test, set(), {var})


def _null_test(cx, node):
    """Recognize `p`, `p is None`, `p is not None`; return `p` and which outcome means non-null."""
    outcome = True
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        right = node.comparators[0]
        if not (isinstance(right, ast.Constant) and right.value is None):
            return None, outcome
        outcome = isinstance(node.ops[0], (ast.IsNot, ast.NotEq))
        node = node.left
    var = cx.vars.get(node.id) if isinstance(node, ast.Name) else None
    if var is None or var in cx.exposed or not is_optional(var.type):
        return None, outcome
    return var, outcome


def _logic(cx, node):
    """`and` and `or`: each operand is checked knowing the outcome of those before it."""
    is_and = isinstance(node.op, ast.And)
    before, items = set(cx.narrowed), []
    passing, short = (
        set(),
        None,
    )  # known after every operand passed; known after any operand cut it short
    for operand in node.values:
        test, yes, no = condition(cx, operand)
        if isinstance(test, typed.Const):
            if test.value is is_and:
                continue
            items, passing, short = [*items, test], set(), set()
            break
        items.append(test)
        onward, out = (yes, no) if is_and else (no, yes)
        short = passing | out if short is None else short & (passing | out)
        passing |= onward
        cx.narrowed |= onward
    cx.narrowed = before
    if not items:
        return typed.Const(node, BOOL, is_and), set(), set()
    test = (
        items[0] if len(items) == 1 else typed.Logic(node, BOOL, "and" if is_and else "or", items)
    )
    return (test, passing, short) if is_and else (test, short, passing)
