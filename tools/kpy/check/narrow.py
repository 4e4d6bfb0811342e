"""Conditions, and what they tell about values that may be None, or that a guest gave.

A local variable of an optional type is *narrowed* where a test has shown that it is not None: its
type there is the plain pointer or newtype. So is a field, element or static that a path reaches,
until the next store or call.
"""

import ast

from kpy.check import typed
from kpy.check.convert import declared_type, truth
from kpy.check.expr import expression
from kpy.check.paths import key_of
from kpy.check.taint import bounded
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
    yes, no = _shown(test)
    return test, _keys(cx, yes), _keys(cx, no)


def _shown(test):
    """The places of which a test tells what they are narrowed to, if it is true and if not."""
    if isinstance(test, typed.Unary):
        return reversed(_shown(test.operand))
    subject, is_known_if = _null_test(test)
    if subject is None:
        return bounded(test)
    return ([subject], []) if is_known_if else ([], [subject])


def _keys(cx, places):
    return {key_of(cx, place) for place in places} - {None}


def _null_test(test):
    """Recognize a comparison with None; return what is compared, and which outcome means that it
    is not None."""
    if not isinstance(test, typed.Compare) or len(test.ops) != 1:
        return None, True
    for subject, none in (test.operands, reversed(test.operands)):
        is_none = isinstance(none, typed.Const) and none.value is None
        if is_none and is_optional(declared_type(subject)):
            return subject, test.ops[0] == "!="
    return None, True


def _logic(cx, node):
    """`and` and `or`: each operand is checked knowing the outcome of those before it."""
    is_and = isinstance(node.op, ast.And)
    before, items = set(cx.narrowed), []
    passing, short = (
        set(),
        None,
    )  # known after every operand passed; known after any operand cut it short
    for operand in node.values:
        stores = cx.stores
        test, yes, no = condition(cx, operand)
        if cx.stores != stores:
            before, passing = cx.lasting(before), cx.lasting(passing)
            short = short if short is None else cx.lasting(short)
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
