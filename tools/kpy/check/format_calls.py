"""Formatters: `printk(f"d{domid}: rip={rip:#x}")` becomes one call for each piece of the text."""

import ast
import re

from kpy.check import typed
from kpy.check.context import TEXT
from kpy.check.convert import coerce, settle
from kpy.check.expr import expression
from kpy.check.taint import bare
from kpy.front.decorators import traits_of
from kpy.front.types import (
    BOOL,
    NONE,
    EnumType,
    GuestType,
    PtrType,
    is_integer,
    u32,
    u64,
)

SPEC = re.compile(r"(#?)(0?)(\d*)([dxX]?)$")
ALTERNATE, ZERO_PADDED, WIDTH_SHIFT = 0x100, 0x200, 16


def format_call(cx, node, python):
    """Check the call of a formatter; it is a statement."""
    write_str, write_int, end = traits_of(python).parts
    if len(node.args) != 1 or node.keywords:
        cx.error(node, f"`{python.__name__}` takes one f-string")
    (text,) = node.args
    steps = []
    for piece in text.values if isinstance(text, ast.JoinedStr) else [text]:
        _piece(cx, piece, write_str, write_int, steps)
    if end is not None:
        steps.append(_invoke(cx, node, end, []))
    return typed.Operation(node, NONE, "sequence", steps)


def _piece(cx, piece, write_str, write_int, steps):
    spec, shown = "", piece
    if isinstance(piece, ast.FormattedValue):
        spec, shown = _spec(cx, piece), piece.value
    expr = bare(settle(cx, expression(cx, shown)))
    if isinstance(expr.type, EnumType) and not spec:
        expr = typed.EnumName(shown, TEXT, expr)
    if expr.type is BOOL:
        words = [typed.Text(shown, TEXT, word) for word in (b"True", b"False")]
        expr = typed.Choose(shown, TEXT, expr, *words)
    if expr.type is TEXT:
        steps.append(_invoke(cx, shown, write_str, [expr]))
    else:
        _integer(cx, shown, expr, spec, write_int, steps)


def _spec(cx, piece):
    if piece.conversion != -1:
        cx.error(piece.value, "a formatter knows no `!r`, `!s` or `!a`")
    if piece.format_spec is None:
        return ""
    parts = piece.format_spec.values
    if not all(isinstance(part, ast.Constant) for part in parts):
        cx.error(piece.value, "the format must be known at build time")
    return "".join(part.value for part in parts)


def _style(cx, node, spec):
    found = SPEC.match(spec)
    if not found:
        cx.error(node, f"unknown format `{spec}`", help="`[#][0][width][d|x]`")
    alternate, zero, width, letter = found.groups()
    style = 16 if letter in ("x", "X") else 10
    style |= (ALTERNATE if alternate else 0) | (ZERO_PADDED if zero else 0)
    return style | int(width or 0) << WIDTH_SHIFT


def _integer(cx, node, expr, spec, write_int, steps):
    """`write_int(magnitude, negative, style)`."""
    if isinstance(expr.type, (PtrType, GuestType)):
        spec = spec or "#x"
        expr = typed.Convert(node, u64, expr, "same")
    if not is_integer(expr.type) and not isinstance(expr.type, EnumType):
        cx.error(node, f"a formatter cannot print `{expr.type}`")
    style = typed.Const(node, u32, _style(cx, node, spec))
    negative = typed.Const(node, BOOL, False)
    if expr.type.signed:
        var = cx.temporary(expr.type, node)
        steps.append(typed.Assign(node, typed.Local(node, expr.type, var), expr))
        expr = typed.Local(node, expr.type, var)
        negative = typed.Compare(node, BOOL, [expr, typed.Const(node, expr.type, 0)], ["<"])
        magnitude = typed.Operation(node, u64, "magnitude", [expr])
    else:
        magnitude = typed.Convert(node, u64, expr, "checked") if expr.type is not u64 else expr
    steps.append(_invoke(cx, node, write_int, [magnitude, negative, style]))


def _invoke(cx, node, python, arguments):
    function = cx.program.declare(cx.kept(python))
    if function is None or len(function.params) != len(arguments):
        cx.error(node, f"`{python.__qualname__}` does not take what a formatter passes to it")
    instance = cx.program.instantiate(function, {})
    cx.instance.callees.setdefault(instance, node)
    checked = [coerce(cx, a, t) for a, (_, t) in zip(arguments, function.params, strict=True)]
    cx.forget()
    return typed.Evaluate(node, typed.Call(node, instance.result, instance, checked))
