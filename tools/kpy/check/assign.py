"""Checking of assignments: plain, annotated, unpacking, augmented."""

import ast

from kpy.check import typed
from kpy.check.convert import coerce, declared_type, is_place, settle
from kpy.check.expr import expression, place, value
from kpy.check.operators import SYMBOLS, arithmetic
from kpy.check.paths import learn, tells
from kpy.check.statements import rule
from kpy.front.decorators import Static
from kpy.front.diagnostics import Reported
from kpy.front.types import NEVER, NONE, NULL, TupleType, intern


@rule(ast.Assign)
def _assign(cx, node, out):
    if len(node.targets) != 1:
        first, second = (cx.text(target) for target in node.targets[:2])
        cx.error(
            node,
            "one target for each assignment",
            help=f"`{second} = {cx.text(node.value)}`, then `{first} = {second}`",
        )
    (target,) = node.targets
    if isinstance(target, ast.List):
        cx.error(target, "the targets of an assignment are a tuple", help="leave the brackets out")
    if isinstance(target, ast.Subscript) and isinstance(target.slice, ast.Slice):
        cx.error(
            target,
            "a slice is no place to assign to",
            help=f"`copy_slice({cx.text(target)}, …)`, or `fill({cx.text(target)}, value)`",
        )
    if isinstance(target, ast.Tuple):
        return _unpack(cx, node, target, out)
    _assign_to(cx, target, node.value, out)
    return False


@rule(ast.AnnAssign)
def _annotated(cx, node, out):
    if not isinstance(node.target, ast.Name):
        cx.error(node.target, "only a local variable can be annotated")
    type_ = cx.type_at(node.annotation)
    name = node.target.id
    if name in cx.vars and cx.vars[name].type not in (type_, None):
        _retyped(cx, node.target, cx.vars[name], type_)
    if node.value is None:
        if name not in cx.vars:
            cx.declare(name, type_, node.target)
        return False
    expr = expression(cx, node.value, type_)
    var = cx.vars.get(name) or cx.declare(name, type_, node.target)
    var.type = type_
    _store(cx, node, typed.Local(node.target, type_, var), expr, out)
    return False


def _retyped(cx, node, var, type_):
    cx.error(
        node,
        f"`{var.name}` is a `{var.type}`, since line {var.line}, and cannot become a `{type_}`",
    )


def _assign_to(cx, target, source, out):
    """One target, and the syntax node of its value."""
    if isinstance(target, ast.Name) and target.id not in cx.global_names:
        var = cx.vars.get(target.id)
        expr = expression(cx, source, var.type if var is not None else None)
        if var is not None and var.type is None:
            raise Reported
        if var is None:
            expr = _first_value(cx, source, expr)
            var = cx.declare(target.id, expr.type, target)
        _store(cx, target, typed.Local(target, var.type, var), expr, out)
        return
    found, stores = place(cx, target), cx.stores
    expr = expression(cx, source, found.type)
    if cx.stores != stores:  # the value is computed first: is its place still known?
        found = place(cx, target)
    _store(cx, target, found, expr, out)


def _first_value(cx, node, expr):
    expr = settle(cx, expr)
    if expr.type is NULL:
        cx.error(
            node,
            "the type of `None` is not known here",
            help="annotate the variable, `p: Ptr[T] | None = None`",
        )
    if expr.type in (NONE, NEVER):
        cx.error(node, f"`{cx.text(node)}` gives no value")
    return expr


def _store(cx, node, target, expr, out):
    """Assign a checked value to a checked place, and remember whether it may be null."""
    if isinstance(target, typed.Local):
        cx.keep_held(target.at, target.var)
        type_ = target.var.type
        target.type = type_
        because = (
            f"the type of `{target.var.name}`, from line {target.var.line}"
            if target.var.name
            else ""
        )
        checked = coerce(cx, expr, type_, because)
        cx.forget_variable(target.var)
        if tells(type_, expr):
            cx.narrowed.add(target.var)
        out.append(typed.Assign(node, target, checked))
        return
    out.append(typed.Assign(node, target, coerce(cx, expr, target.type)))
    cx.forget()
    learn(cx, target, expr)


def _unpack(cx, node, target, out):
    """`a, b = …`: the right side is complete before the first target is assigned."""
    for item in target.elts:
        if isinstance(item, (ast.Starred, ast.Tuple, ast.List)):
            kind = "`*`" if isinstance(item, ast.Starred) else "nested tuple"
            cx.error(
                item,
                f"kernel Python has no {kind} among the targets of an assignment",
                help="name each part, `_` for one that is not needed; `a[1:]` is the rest of an "
                "array",
            )
    hints = [
        cx.vars[item.id].type if isinstance(item, ast.Name) and item.id in cx.vars else None
        for item in target.elts
    ]
    want = intern(TupleType, tuple(hints)) if all(hints) else None
    if isinstance(node.value, ast.Tuple) and want is None:
        hints = None
    expr = value(cx, node.value) if want is None else expression(cx, node.value, want)
    if not isinstance(expr.type, TupleType) or len(expr.type.items) != len(target.elts):
        cx.error(node.value, f"expected a tuple of {len(target.elts)}, found `{expr.type}`")
    var = cx.temporary(expr.type, node)
    whole = typed.Local(node, expr.type, var)
    out.append(typed.Assign(node, whole, expr))
    for i, item in enumerate(target.elts):
        part = typed.ItemOf(item, expr.type.items[i], whole, i)
        if isinstance(item, ast.Name) and item.id == "_":
            continue
        if isinstance(item, ast.Name) and item.id not in cx.global_names:
            local = cx.vars.get(item.id) or cx.declare(item.id, part.type, item)
            _store(cx, item, typed.Local(item, local.type, local), part, out)
        else:
            _store(cx, item, place(cx, item), part, out)
    return False


@rule(ast.AugAssign)
def _augmented(cx, node, out):
    _may_change(cx, node.target)
    target = expression(cx, _as_load(node.target))
    if not is_place(target):
        cx.error(node.target, f"`{cx.text(node.target)}` is a value, not a place in memory")
    if isinstance(target, typed.Local):
        cx.keep_held(node.target, target.var)
    op = SYMBOLS[type(node.op)]
    right = expression(cx, node.value, target.type if op not in ("<<", ">>") else None)
    result = arithmetic(cx, node, op, target, right)
    coerce(cx, result, declared_type(target))
    operation = result.operand if isinstance(result, typed.Convert) else result
    out.append(typed.Augment(node, target, op, operation.right))
    if not isinstance(target, typed.Local):
        cx.forget()
        return False
    cx.forget_variable(target.var)
    if tells(target.var.type, result):
        cx.narrowed.add(target.var)
    return False


def _may_change(cx, target):
    """Refuse `n += 1` where `n` is no variable of the function."""
    if not isinstance(target, ast.Name) or target.id in cx.vars or target.id in cx.global_names:
        return
    found = cx.lookup(target, target.id)
    if isinstance(found, Static):
        cx.error(
            target,
            f"`{target.id}` is a static of this module, and no variable of `{cx.function.name}`",
            help=f"write `global {target.id}` first in the function",
        )
    cx.error(
        target,
        f"`{target.id}` is a constant of the module and cannot change",
        help=f"what changes at run time is a static: `{target.id} = static(u64, …)` at module "
        f"level, and `global {target.id}` first in the function",
    )


def _as_load(node):
    return (
        ast.copy_location(ast.Name(node.id, ast.Load()), node)
        if isinstance(node, ast.Name)
        else node
    )
