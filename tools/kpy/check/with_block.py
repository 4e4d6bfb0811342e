"""Checking of `with`: locks, and references that functions marked `@gives_back` return."""

import ast

from kpy.check import typed
from kpy.check.calls import call_function
from kpy.check.convert import settle
from kpy.check.expr import expression
from kpy.check.loops import loop_variable
from kpy.check.narrow import condition
from kpy.check.statements import block, rule
from kpy.front.structs import StructType
from kpy.front.types import NONE, PtrType, ResultType, intern

NO_NAME = "a `with` without `as`"


@rule(ast.With)
def _with(cx, node, out):
    before = dict(cx.held)
    try:
        holds = [_hold(cx, item) for item in node.items]
        body, ended = block(cx, node.body)
    finally:
        _give_back(cx, node, before)
    out.append(typed.With(node, holds, body))
    cx.forget()
    return ended


def _give_back(cx, node, before):
    """Forget the references of a `with` after its block."""
    for var in set(cx.held) - set(before):
        cx.vars.pop(var.name)
        cx.given_back[var.name] = (node.end_lineno, cx.held[var])
    cx.held = before


def _hold(cx, item):
    node = item.context_expr
    expr = settle(cx, expression(cx, node))
    put = cx.taker_back(expr)
    return _lock(cx, item, expr) if put is None else _reference(cx, item, expr, put)


def _reference(cx, item, expr, put):
    """Bind a reference; on leaving it is given back unless it is None."""
    node, target = item.context_expr, item.optional_vars
    if expr.type is NONE:
        cx.error(node, f"`{cx.text(node)}` gives no value to give back")
    if isinstance(expr.type, ResultType):
        cx.error(
            node,
            f"this `{expr.type}` may be an error",
            help=f"`with ok({cx.text(node)}) as …:` returns the error from this function",
        )
    name = _new_name(cx, target, put)
    var = cx.declare(name, expr.type, target or node)
    leave = _leave(cx, node, name, expr.type, put)
    if target is None:
        del cx.vars[name]
        var.name = ""
    else:
        cx.held[var] = put.__name__
    return typed.Hold(var, expr, None, leave)


def _new_name(cx, target, put):
    if target is None:
        return NO_NAME
    if not isinstance(target, ast.Name):
        cx.error(target, f"what `{put.__name__}` gives back has one plain variable")
    known = cx.vars.get(target.id)
    if known is not None:
        cx.error(
            target,
            f"`{known.name}` is a variable already, since line {known.line}",
            help="a reference that a `with` gives back takes a name of its own",
        )
    return target.id


def _leave(cx, node, name, type_, put):
    """`if name is not None: put(name)`, without the test where the type has no None."""
    call = ast.copy_location(ast.Call(_name(node, put.__name__), [_name(node, name)], []), node)
    before = set(cx.narrowed)
    test = None
    if getattr(type_, "nullable", False):
        right = ast.copy_location(ast.Constant(None), node)
        compare = ast.Compare(_name(node, name), [ast.IsNot()], [right])
        test, yes, _ = condition(cx, ast.copy_location(compare, node))
        cx.narrowed |= yes
    argument = expression(cx, call.args[0])
    function = cx.program.declare(put)
    if isinstance(type_, StructType) and function and isinstance(function.params[0][1], PtrType):
        argument = typed.AddressOf(node, intern(PtrType, type_, False), argument)
    give = typed.Evaluate(node, call_function(cx, call, put, [], argument))
    cx.narrowed = before
    return [give] if test is None else [typed.If(node, test, [give], [])]


def _name(node, name):
    return ast.copy_location(ast.Name(name, ast.Load()), node)


def _lock(cx, item, expr):
    node = item.context_expr
    if isinstance(expr.type, StructType):
        expr = typed.AddressOf(node, intern(PtrType, expr.type, False), expr)
    struct = expr.type.target if isinstance(expr.type, PtrType) and not expr.type.nullable else None
    methods = (
        [struct.method(name) for name in ("__enter__", "__exit__")]
        if isinstance(struct, StructType)
        else [None]
    )
    if not all(methods):
        advice = ""
        if isinstance(expr, typed.Call):
            name = expr.instance.function.name
            advice = f"`@gives_back(put)` on `{name}` says what takes its result back"
        cx.error(node, f"`{expr.type}` has no `__enter__` and `__exit__`", help=advice)
    var = cx.temporary(expr.type, node)
    call = ast.copy_location(ast.Call(node, [], []), node)
    enter, leave = (
        call_function(cx, call, m, [], typed.Local(node, expr.type, var)) for m in methods
    )
    bound = None
    if item.optional_vars is not None:
        bound = loop_variable(cx, item.optional_vars, enter.type)
    return typed.Hold(var, expr, enter, [typed.Evaluate(node, leave)], bound)
