"""Checking of loops."""

import ast

from kpy.check import typed
from kpy.check.context import assigned_names
from kpy.check.convert import coerce, is_place, settle
from kpy.check.expr import expression, indexable
from kpy.check.narrow import condition
from kpy.check.statements import block, rule
from kpy.check.taint import is_tainted, refuse
from kpy.front.structs import StructType
from kpy.front.types import UNTYPED, PtrType, intern, is_integer, u64

NO_ELSE = "put it behind the loop; a bool tells whether a `break` came"


def _loop_body(cx, node, extra=frozenset()):
    """Check the body of a loop: what it assigns is not known at its start, nor after it."""
    assigned = {cx.vars[name] for name in assigned_names(node.body) if name in cx.vars}
    cx.narrowed -= assigned
    cx.forget()
    before = set(cx.narrowed)
    cx.narrowed |= extra
    cx.loops += 1
    body, _ = block(cx, node.body)
    cx.loops -= 1
    cx.narrowed = before - assigned
    return body


def _no_else(cx, node):
    if node.orelse:
        cx.error(node.orelse[0], "kernel Python has no `else` of a loop", help=NO_ELSE)


@rule(ast.While)
def _while(cx, node, out):
    _no_else(cx, node)
    assigned = {cx.vars[name] for name in assigned_names(node.body) if name in cx.vars}
    cx.narrowed -= assigned
    cx.forget()
    test, yes, no = condition(cx, node.test)
    if isinstance(test, typed.Const) and not test.value:
        return False
    body = _loop_body(cx, node, yes)
    leaves = has_break(node.body)
    if not leaves:
        cx.narrowed |= no
    out.append(typed.While(node, test, body))
    return isinstance(test, typed.Const) and not leaves


def has_break(statements):
    """Whether a `break` leaves the loop whose body this is."""
    for statement in statements:
        if isinstance(statement, ast.Break):
            return True
        if isinstance(statement, (ast.For, ast.While)):
            continue
        inner = [getattr(statement, name, []) for name in ("body", "orelse")]
        inner += [case.body for case in getattr(statement, "cases", [])]
        if any(has_break(part) for part in inner):
            return True
    return False


@rule(ast.For)
def _for(cx, node, out):
    _no_else(cx, node)
    iterator, backwards = node.iter, False
    if _calls(cx, iterator, reversed) and len(iterator.args) == 1:
        iterator, backwards = iterator.args[0], True
    if _calls(cx, iterator, range):
        out.append(_for_range(cx, node, iterator, backwards))
        return False
    if backwards:
        cx.error(node.iter, "`reversed` takes a `range`")
    counter, target = None, node.target
    if _calls(cx, iterator, enumerate) and len(iterator.args) == 1:
        if not isinstance(target, ast.Tuple) or len(target.elts) != 2:
            cx.error(target, "`enumerate` gives an index and an element")
        iterator, (index, target) = iterator.args[0], target.elts
        counter = loop_variable(cx, index, u64)
    base, element, _ = indexable(cx, settle(cx, expression(cx, iterator)))
    by_pointer = isinstance(element, StructType)
    if by_pointer and not is_place(base) and not _is_slice(base):
        cx.error(iterator, "only an array in memory can be iterated by pointer")
    var = loop_variable(cx, target, intern(PtrType, element, False) if by_pointer else element)
    out.append(typed.ForEach(node, var, base, by_pointer, counter, _loop_body(cx, node)))
    return False


def _is_slice(expr):
    return not hasattr(expr.type, "count")


def _calls(cx, node, function):
    if not (
        isinstance(node, ast.Call)
        and isinstance(node.func, ast.Name)
        and node.func.id == function.__name__
    ):
        return False
    return node.func.id not in cx.vars and cx.lookup(node, node.func.id) is function


def loop_variable(cx, target, type_):
    """The variable of a `for`; each loop may give the name a type of its own."""
    if not isinstance(target, ast.Name):
        cx.error(
            target,
            "a `for` has one plain variable",
            help="`for i, x in enumerate(a)` has two; assign to fields in the body",
        )
    var = cx.vars.get(target.id)
    cx.keep_held(target, var)
    if var is None or var.type is not type_:
        var = cx.declare(target.id, type_, target)
    cx.forget_variable(var)
    return var


def _for_range(cx, node, call, backwards):
    if not 1 <= len(call.args) <= 3 or call.keywords:
        cx.error(call, "`range` takes 1 to 3 arguments")
    bounds = [expression(cx, argument) for argument in call.args]
    step = bounds.pop() if len(bounds) == 3 else typed.Const(call, UNTYPED, 1)
    start, stop = bounds if len(bounds) == 2 else (typed.Const(call, UNTYPED, 0), bounds[0])
    for bound in (start, stop, step):
        if is_tainted(bound):
            refuse(cx, bound, "a bound of a `range`")
    type_ = next((b.type for b in (start, stop) if b.type is not UNTYPED), None)
    if type_ is None:
        type_ = settle(cx, start if start.value < 0 else stop).type
    start, stop = coerce(cx, start, type_), coerce(cx, stop, type_)
    if not is_integer(type_):
        cx.error(call, f"`range` takes integers, not `{type_}`")
    step = step if step.type is UNTYPED else coerce(cx, step, type_)
    known = step.value if isinstance(step, typed.Const) else None
    if known == 0 or (known is None and type_.signed):
        cx.error(step.at, "the step of a `range` must not be 0, and known at build time if signed")
    if known is not None and known < 0 and not type_.signed:
        cx.error(
            call,
            f"counting down in the unsigned `{type_}`",
            help="`for i in reversed(range(low, high)):`",
        )
    if backwards and known != 1:
        cx.error(call, "`reversed` takes a `range` with step 1")
    step = coerce(cx, step, type_)
    var = loop_variable(cx, node.target, type_)
    return typed.ForRange(node, var, start, stop, step, backwards, _loop_body(cx, node))


@rule(ast.Break, ast.Continue)
def _leave(cx, node, out):
    if not cx.loops:
        cx.error(node, "outside a loop")
    out.append((typed.Break if isinstance(node, ast.Break) else typed.Continue)(node))
    return True
