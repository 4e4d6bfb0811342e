"""Checking of simple statements, `if`, `return`, `assert`; refusal of what there is not."""

import ast

from kpy.check import typed
from kpy.check.expr import expression, value
from kpy.check.narrow import condition
from kpy.check.statements import block, rule
from kpy.front.types import NEVER, NONE, IntType, ResultType, intern

SUCCESS = intern(ResultType, NONE)  # in memory an i64, of 0


EFFECTS = (typed.Call, typed.CallPointer, typed.Operation, typed.Deref, typed.Attempt)


@rule(ast.Pass)
def _pass(cx, node, out):
    return False


@rule(ast.Global)
def _global(cx, node, out):
    for name in node.names:
        if cx.is_static(name):
            cx.global_names.add(name)
        else:
            cx.declare(name, None, node)  # its uses are not reported too
            known = "is no static" if name in cx.scope else "is not defined in this module"
            cx.error(
                node,
                f"`global {name}`: `{name}` {known}",
                help=f"make a static of it, `{name} = static(u64)` at module level",
            )
    return False


@rule(ast.Expr)
def _expression(cx, node, out):
    if isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return False  # a docstring
    if isinstance(node.value, ast.Constant) and node.value.value is ...:
        return False
    if _is_require(cx, node.value):
        return _require(cx, node.value, out)
    expr = expression(cx, node.value)
    if not isinstance(expr, EFFECTS):
        cx.error(node, f"`{cx.text(node)}` is computed and thrown away")
    _look_at(cx, node, expr)
    out.append(typed.Evaluate(node, expr))
    return expr.type is NEVER


def _look_at(cx, node, expr):
    """Report a result that somebody must look at, and nobody does."""
    if isinstance(expr.type, ResultType):
        cx.error(
            node,
            f"nobody looks at this `{expr.type}`",
            help=f"`ok({cx.text(node.value)})` returns the error from this function",
        )
    if put := cx.taker_back(expr):
        cx.error(
            node,
            f"nobody gives this `{expr.type}` back",
            help=f"`with {cx.text(node.value)} as …:` calls `{put.__name__}`",
        )


def _is_require(cx, node):
    if not (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "require"
    ):
        return False
    return "require" not in cx.vars


def _require(cx, node, out):
    if len(node.args) != 2 or node.keywords:
        cx.error(node, "`require` takes a condition and the result to return")
    test, yes, no = condition(cx, node.args[0])
    before = set(cx.narrowed)
    cx.narrowed = before | no
    result = _result(cx, node.args[1])
    cx.narrowed = before | yes
    if isinstance(test, typed.Const) and test.value:
        return False
    out.append(typed.If(node, test, [], [typed.Return(node, result)]))
    return False


def _result(cx, node):
    want = cx.instance.result
    if want is NONE:
        if not (isinstance(node, ast.Constant) and node.value is None):
            cx.error(node, f"`{cx.function.name}` returns no value")
        return None
    expr = value(cx, node, want, "the result type")
    _keep_inside(cx, expr)
    return expr


def _keep_inside(cx, expr):
    """Report a result that the `with` around it gives back before the caller gets it."""
    if isinstance(expr, typed.Local) and expr.var in cx.held:
        put = cx.held[expr.var]
        message = f"`{put}` gives `{expr.var.name}` back on the way out: it cannot be returned"
        advice = "take it without `with`; then the caller of this function gives it back"
        cx.error(expr.at, message, help=advice)
    if isinstance(expr, typed.Succeed) or (
        isinstance(expr, typed.Convert) and not isinstance(expr.type, IntType)
    ):
        _keep_inside(cx, expr.operand)
    if isinstance(expr, typed.Choose):
        _keep_inside(cx, expr.then)
        _keep_inside(cx, expr.other)
    if isinstance(expr, typed.MakeTuple):
        for item in expr.items:
            _keep_inside(cx, item)


@rule(ast.Return)
def _return(cx, node, out):
    want = cx.instance.result
    if want is NEVER:
        cx.error(node, f"`{cx.function.name}` is declared never to return")
    if node.value is not None:
        result = _result(cx, node.value)
    elif want is SUCCESS:
        result = typed.Const(node, SUCCESS, 0)
    elif want is NONE:
        result = None
    else:
        cx.error(node, f"`{cx.function.name}` must return a `{want}`")
    out.append(typed.Return(node, result))
    return True


@rule(ast.If)
def _if(cx, node, out):
    test, yes, no = condition(cx, node.test)
    if isinstance(test, typed.Const):
        chosen, ended = block(cx, node.body if test.value else node.orelse)
        out.extend(chosen)
        return ended
    before = set(cx.narrowed)
    cx.narrowed = before | yes
    then, then_ends = block(cx, node.body)
    after_then, cx.narrowed = cx.narrowed, before | no
    other, other_ends = block(cx, node.orelse)
    if other_ends:
        cx.narrowed = after_then
    elif not then_ends:
        cx.narrowed &= after_then
    out.append(typed.If(node, test, then, other))
    return then_ends and other_ends


@rule(ast.Assert)
def _assert(cx, node, out):
    text = f"assertion failed: {cx.text(node.test)}"
    if node.msg is not None:
        text = cx.build_value(node.msg)
        if not isinstance(text, str):
            cx.error(node.msg, "the text of an assertion is a string known at build time")
    test, yes, _ = condition(cx, node.test)
    cx.narrowed |= yes
    if isinstance(test, typed.Const):
        if not test.value and not (isinstance(node.test, ast.Constant)):
            cx.error(node, f"this assertion never holds: {text}")
        if test.value:
            return False
    out.append(typed.Check(node, test, text))
    return isinstance(test, typed.Const)
