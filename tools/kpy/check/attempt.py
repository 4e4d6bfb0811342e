"""Checking of `ok(…)`: the value of a `Result`, or an early return of its error."""

from kpy.check import typed
from kpy.check.builtin_calls import builtin
from kpy.check.convert import coerce
from kpy.check.expr import value
from kpy.front.types import BOOL, NONE, ResultType, i64, is_pointer


@builtin("ok")(1)
def _ok(cx, node, name, want, operand):
    expr = value(cx, operand)
    if expr.type is not i64 and not isinstance(expr.type, ResultType):
        _refuse(cx, operand, expr)
    result = cx.instance.result
    if result is not i64 and not isinstance(result, ResultType):
        cx.error(
            node,
            f"`ok` returns an error from `{cx.function.name}`, whose result is a `{result}`",
            help=f"`-> Result[{result}]`, or look at `.error`",
        )
    var = cx.temporary(expr.type, node)
    whole = typed.Local(node, expr.type, var)
    if expr.type is i64:
        zero = typed.Const(node, i64, 0)
        failed, error, found = typed.Compare(node, BOOL, [whole, zero], ["<"]), whole, whole
    else:
        failed, error = typed.IsFailure(node, BOOL, whole), typed.ErrorOf(node, i64, whole, True)
        found = typed.ValueOf(node, expr.type.value, whole, True)
    if expr.type == result:
        error = whole
    leave = typed.Return(node, _as_result(cx, error, result))
    if found.type is NONE:
        found = None
    return typed.Attempt(node, found.type if found else NONE, var, expr, failed, leave, found)


def _as_result(cx, error, result):
    """An error that is known to be one, as the result of this function."""
    converted = coerce(cx, error, result)
    if isinstance(converted, typed.Fail):
        converted.checked = False
    return converted


def _refuse(cx, node, expr):
    text = cx.text(node)
    advice = ""
    if is_pointer(expr.type) and expr.type.nullable:
        advice = f"`require({text} is not None, …)` names the error"
    elif expr.type is BOOL:
        advice = f"`require({text}, …)` names the error"
    cx.error(
        node, f"`ok` takes a `Result`, or an `i64` error code, not a `{expr.type}`", help=advice
    )
