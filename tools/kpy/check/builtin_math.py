"""Checking of the arithmetic and bit builtins, and of those that Python has too."""

from kpy.check import typed
from kpy.check.builtin_calls import builtin
from kpy.check.convert import coerce, fit, settle
from kpy.check.expr import common_type, expression, indexable
from kpy.check.operators import LARGEST_EXPONENT, arithmetic
from kpy.check.taint import bare, is_tainted, taint
from kpy.front.types import (
    BOOL,
    UNTYPED,
    ArrayType,
    IntType,
    PtrType,
    SliceType,
    TupleType,
    intern,
    is_integer,
    u64,
)

PYTHON_BUILTINS = {}


def _two(cx, node, want, left, right):
    """Two operands of one integer type."""
    one, two = bare(expression(cx, left, want)), bare(expression(cx, right, want))
    type_ = (
        want
        if want is not None and one.type is UNTYPED and two.type is UNTYPED
        else common_type(cx, one, two)
    )
    one, two = coerce(cx, one, type_), coerce(cx, two, type_)
    if not is_integer(type_):
        cx.error(node, f"`{cx.text(node.func)}` takes integers, not `{type_}`")
    return one, two, type_


OPERATORS = {"add": "+", "sub": "-", "mul": "*"}


@builtin("wrapping_add", "wrapping_sub", "wrapping_mul", "saturating_sub")(2)
def _wrapping(cx, node, name, want, left, right):
    mode, _, verb = name.partition("_")
    if isinstance(want, TupleType):
        want = None
    one, two = expression(cx, left, want), expression(cx, right, want)
    if one.type is UNTYPED and two.type is UNTYPED:
        one = fit(cx, one, want if want is not None and is_integer(want) else u64)
    return arithmetic(cx, node, OPERATORS[verb], one, two, want, mode)


@builtin("checked_add", "checked_sub", "checked_mul")(2)
def _overflowing(cx, node, name, want, left, right):
    hint = want.items[0] if isinstance(want, TupleType) else None
    one, two = expression(cx, left, hint), expression(cx, right, hint)
    if one.type is UNTYPED and two.type is UNTYPED:
        one = fit(cx, one, hint or u64)
    operation = arithmetic(cx, node, OPERATORS[name[8:]], one, two, hint, "overflowing")
    type_ = intern(TupleType, (operation.type, BOOL))
    operation = operation.operand if is_tainted(operation) else operation
    operation.type = type_
    return operation


@builtin("popcount", "clz", "ctz", "bswap")(1)
def _bits(cx, node, name, want, number):
    expr = settle(
        cx, expression(cx, number, want if want is not None and is_integer(want) else None)
    )
    plain = bare(expr)
    if not isinstance(plain.type, IntType):
        cx.error(number, f"`{name}` takes an integer, not `{expr.type}`")
    result = typed.Operation(node, plain.type, name, [plain])
    return taint(result) if name == "bswap" and is_tainted(expr) else result


@builtin("trusted")(1)
def _trusted(cx, node, name, want, number):
    expr = expression(cx, number)
    if not is_tainted(expr):
        cx.error(number, f"`{cx.text(number)}` is a `{expr.type}`, that is trusted already")
    return bare(expr)


@builtin("bit")(1)
def _bit(cx, node, name, want, number):
    index = expression(cx, number)
    if index.type is UNTYPED and 0 <= index.value <= LARGEST_EXPONENT:
        return typed.Const(node, UNTYPED, 1 << index.value)
    type_ = want if isinstance(want, IntType) else u64
    one = typed.Const(node, type_, 1)
    return arithmetic(cx, node, "<<", one, index, type_)


def python_builtin(function):
    """Register the check of a Python builtin that compiled functions may call."""
    return lambda check: PYTHON_BUILTINS.setdefault(function, check)


@python_builtin(len)
def _len(cx, node, want):
    if len(node.args) != 1:
        cx.error(node, "`len` takes 1 argument")
    base = expression(cx, node.args[0])
    if isinstance(base, typed.Meta):
        try:
            return typed.Const(node, UNTYPED, len(base.value))
        except TypeError:
            return settle(cx, base)
    if isinstance(base, typed.Text):
        return typed.Const(node, UNTYPED, len(base.data))
    if _has_no_length(base.type):
        cx.error(
            node,
            f"`{base.type}` has no length",
            help="arrays, slices and texts have one; `sizeof(T)` is the size of a type",
        )
    base, _, _ = indexable(cx, base)
    if isinstance(base.type, ArrayType):
        return typed.Const(node, UNTYPED, base.type.count)
    return typed.SlicePart(node, u64, base, "len")


def _has_no_length(type_):
    if isinstance(type_, PtrType):
        return not isinstance(type_.target, ArrayType)
    return not isinstance(type_, (ArrayType, SliceType))


def _extreme(name):
    def check(cx, node, want):
        if len(node.args) != 2:
            cx.error(node, f"`{name}` takes 2 arguments here")
        left, right = (expression(cx, argument, want) for argument in node.args)
        if left.type is UNTYPED and right.type is UNTYPED:
            return typed.Const(
                node, UNTYPED, (min if name == "min" else max)(left.value, right.value)
            )
        one, two, type_ = _two(cx, node, want, *node.args)
        result = typed.Operation(node, type_, name, [one, two])
        unbounded = [is_tainted(left), is_tainted(right)]
        return taint(result) if (all if name == "min" else any)(unbounded) else result

    return check


def _only_in_for(cx, node, want):
    return cx.error(node, f"`{cx.text(node.func)}` works in a `for` statement only")


python_builtin(min)(_extreme("min"))
python_builtin(max)(_extreme("max"))
for _iterator in (range, enumerate, reversed):
    python_builtin(_iterator)(_only_in_for)
