"""Checking of expressions: names, attributes, elements, literals.

`expression` may give an untyped integer or a build-time value; `value` gives something that can be
computed, of the type that the context wants. `want` is a hint for literals and is enforced by
`value` only.
"""

import ast

from kpy.check import typed
from kpy.check.convert import coerce, declared_type, how_to_check, is_place, settle
from kpy.check.paths import known
from kpy.check.refusals import EXPRESSIONS, TEXT, VALUES
from kpy.check.table import Table
from kpy.front.annotations import Maker
from kpy.front.diagnostics import Reported
from kpy.front.structs import StructType
from kpy.front.types import (
    META,
    NEVER,
    NONE,
    NULL,
    UNTYPED,
    ArrayType,
    GuestType,
    PtrType,
    ResultType,
    SliceType,
    TaintedType,
    TupleType,
    Type,
    VolatileType,
    i64,
    intern,
    is_integer,
    is_optional,
    non_null,
    optional,
    u8,
    u64,
)

RULES = Table()
rule = RULES.of
TEXT_TYPE = intern(SliceType, u8)


def expression(cx, node, want=None):
    """Check an expression; the result may still be untyped or a build-time value."""
    check = RULES.get(type(node))
    if check is None:
        name, advice = EXPRESSIONS.get(type(node), (f"`{type(node).__name__}` expressions", ""))
        cx.error(node, f"kernel Python has no {name}", help=advice)
    if isinstance(want, TaintedType):
        want = want.inner
    if isinstance(want, ResultType) and not isinstance(node, ast.IfExp):
        want = i64 if want.value is NONE else want.value
    return check(cx, node, want)


def value(cx, node, want=None, because=""):
    """Check an expression that is to be computed, as a value of type `want` if given."""
    expr = expression(cx, node, want)
    if want is not None:
        return coerce(cx, expr, want, because)
    expr = settle(cx, expr)
    if expr.type in (NONE, NEVER):
        cx.error(node, f"`{cx.text(node)}` gives no value")
    if expr.type is NULL:
        cx.error(
            node,
            "the type of `None` is not known here",
            help="annotate it, `p: Ptr[T] | None = None`",
        )
    return expr


def place(cx, node):
    """Check an expression that must denote memory or a variable."""
    expr = expression(cx, node)
    if not is_place(expr):
        cx.error(
            node,
            f"`{cx.text(node)}` is a value, not a place in memory",
            help=_of_build_time(cx, node),
        )
    expr.type = declared_type(expr)
    return expr


def _of_build_time(cx, node):
    """Advice for who would change what a module made at build time."""
    while isinstance(node, (ast.Subscript, ast.Attribute)):
        node = node.value
    if not isinstance(node, ast.Name) or node.id in cx.vars or cx.is_static(node.id):
        return ""
    made = "Array[T, N]" if isinstance(cx.lookup(node, node.id), (list, tuple)) else "T"
    return f"what changes at run time is a static, `{node.id} = static({made}, …)` at module level"


def integer(cx, node, count=0):
    """Check an index, length or count: any integer type. One that a guest gave is an index where no
    number of its type is too large for the `count` elements.
    """
    expr = settle(cx, expression(cx, node, u64))
    if isinstance(expr.type, TaintedType):
        from kpy.check.taint import bare, refuse

        if expr.type.signed or 1 << expr.type.bits > count:
            refuse(cx, expr, "an index or length")
        expr = bare(expr)
    if not is_integer(expr.type):
        advice = f"check it first, `{cx.text(node)} is not None`" if is_optional(expr.type) else ""
        cx.error(node, f"expected an integer, found `{expr.type}`", help=advice)
    return expr


@rule(ast.Constant)
def _constant(cx, node, want):
    if isinstance(node.value, (bool, int, str, bytes, type(None))):
        return cx.wrap(node, node.value)
    kind = type(node.value)
    return cx.error(node, f"kernel Python has no {kind.__name__} values", help=VALUES.get(kind, ""))


@rule(ast.Name)
def _name(cx, node, want):
    var = cx.vars.get(node.id)
    if var is not None and node.id not in cx.global_names:
        if var.type is None:  # its value did not check
            raise Reported
        return known(cx, typed.Local(node, var.type, var))
    return known(cx, cx.wrap(node, cx.lookup(node, node.id)))


@rule(ast.Attribute)
def _attribute(cx, node, want):
    base = expression(cx, node.value)
    if isinstance(base, typed.Meta):
        return known(cx, cx.wrap(node, cx.attribute(node, base.value, node.attr)))
    base = settle(cx, base)
    type_ = base.type
    if isinstance(type_, PtrType) and isinstance(type_.target, StructType):
        need_non_null(cx, base)
        return _member(cx, node, typed.Deref(node.value, type_.target, base), base)
    if isinstance(type_, StructType):
        return _member(cx, node, base, None)
    if isinstance(type_, SliceType) and node.attr in ("ptr", "length"):
        part_type = intern(PtrType, type_.element, False) if node.attr == "ptr" else u64
        return typed.SlicePart(node, part_type, base, "ptr" if node.attr == "ptr" else "len")
    if isinstance(type_, ResultType) and node.attr == "error":
        return typed.ErrorOf(node, i64, base, False)
    if isinstance(type_, ResultType) and node.attr == "value" and type_.value is not NONE:
        return typed.ValueOf(node, type_.value, base, False)
    if isinstance(type_, GuestType) and node.attr in ("index", "address", "cast"):
        return typed.Bound(node, META, node.attr, base)
    advice = TEXT if type_ is TEXT_TYPE and hasattr(str, node.attr) else ""
    return cx.error(node, f"`{type_}` has no attribute `{node.attr}`", help=advice)


def need_non_null(cx, expr):
    """Report a pointer that may be null where it is about to be used."""
    if expr.type.nullable:
        cx.error(expr.at, f"`{cx.text(expr.at)}` may be null", help=how_to_check(cx, expr))


def _member(cx, node, base, pointer):
    """A field or method of the struct `base`, reached through `pointer` if that is not None."""
    struct = base.type
    if node.attr in struct.fields:
        field = struct.fields[node.attr]
        return known(cx, typed.FieldOf(node, field.type, base, field))
    if struct.method(node.attr):
        if pointer is None:
            pointer = typed.AddressOf(node.value, intern(PtrType, struct, False), base)
        return typed.Bound(node, META, struct.method(node.attr), pointer)
    if node.attr in struct.namespace:
        return cx.wrap(node, struct.namespace[node.attr])
    members = type("members", (), dict.fromkeys([*struct.fields, *struct.namespace]))
    members.__name__ = struct.name
    return cx.attribute(node, members, node.attr)


def indexable(cx, expr):
    """See through a pointer to an array; return (base, element type, volatile)."""
    if isinstance(expr.type, PtrType) and isinstance(expr.type.target, ArrayType):
        need_non_null(cx, expr)
        expr = typed.Deref(expr.at, expr.type.target, expr)
    if not isinstance(expr.type, (ArrayType, SliceType)):
        advice = "copy it to an array, `a: Array[T, N] = […]`"
        advice = advice if isinstance(expr.type, TupleType) else ""
        if is_integer(expr.type):
            advice = "`x >> n & mask` takes bits of an integer; a loop counts by `range`"
        cx.error(expr.at, f"`{expr.type}` cannot be indexed or iterated", help=advice)
    element = expr.type.element
    if isinstance(element, VolatileType):
        return expr, element.element, True
    volatile = isinstance(expr, typed.FieldOf) and expr.field.volatile
    return expr, element, volatile


@rule(ast.Subscript)
def _subscript(cx, node, want):
    base = expression(cx, node.value)
    if isinstance(base, typed.Meta):
        return _build_time_element(cx, node, base)
    base = settle(cx, base)
    if isinstance(base.type, TupleType):
        return _tuple_item(cx, node, base)
    if isinstance(base.type, PtrType) and not isinstance(base.type.target, ArrayType):
        text = cx.text(node.value)
        what, first = "a pointer", ""
        if base.type.nullable:
            what, first = f"`{text}` may be null, and a pointer", "check it first; "
        cx.error(
            node,
            f"{what} cannot be indexed",
            help=f"{first}`load({text})` is the value; of several make a slice, "
            f"`Slice[{base.type.target}]({text}, length)`",
        )
    base, element, volatile = indexable(cx, base)
    if isinstance(node.slice, ast.Slice):
        return _slice(cx, node, base)
    count = base.type.count if isinstance(base.type, ArrayType) else 0
    index = integer(cx, node.slice, count)
    checked = True
    if isinstance(index, typed.Const) and isinstance(base.type, ArrayType):
        if not 0 <= index.value < base.type.count:
            advice = f"`{cx.text(node.value)}[len({cx.text(node.value)}) - 1]` is the last element"
            advice = advice if index.value < 0 else ""
            cx.error(node.slice, f"index {index.value} is outside `{base.type}`", help=advice)
        checked = False
    return known(cx, typed.ElementOf(node, element, base, index, checked, volatile))


def _slice(cx, node, base):
    if node.slice.step is not None:
        cx.error(node.slice.step, "a slice has no step")
    low, high = (
        integer(cx, bound) if bound else None for bound in (node.slice.lower, node.slice.upper)
    )
    for bound in (low, high):
        if isinstance(bound, typed.Const) and bound.value < 0:
            cx.error(
                bound.at,
                "the bounds of a slice are not negative",
                help=f"`len({cx.text(node.value)}) - n` counts from the end",
            )
    if isinstance(base.type, ArrayType) and not is_place(base):
        cx.error(node.value, "only an array in memory can be sliced")
    return typed.SliceOf(node, intern(SliceType, base.type.element), base, low, high)


def _tuple_item(cx, node, base):
    index = expression(cx, node.slice)
    known = isinstance(index, typed.Const) and index.type is UNTYPED
    if not known or not 0 <= index.value < len(base.type.items):
        cx.error(node.slice, f"the index into `{base.type}` must be a literal that fits")
    return typed.ItemOf(node, base.type.items[index.value], base, index.value)


def _build_time_element(cx, node, base):
    if isinstance(base.value, (Maker, Type)) or base.value in (tuple, type):
        return typed.Meta(node, META, cx.type_at(node))
    key = expression(cx, node.slice)
    if not isinstance(key, (typed.Const, typed.Text)):
        name = cx.text(node.value)
        cx.error(
            node,
            f"`{name}` exists at build time, `{cx.text(node.slice)}` at run time only",
            help=f"a table that is indexed at run time is a static, `static(Array[T, N], {name})`",
        )
    key = cx.build_value(node.slice)
    try:
        return cx.wrap(node, base.value[key])
    except (TypeError, KeyError, IndexError) as error:
        return cx.error(node, f"`{cx.text(node)}` at build time: {type(error).__name__} {error}")


@rule(ast.Tuple)
def _tuple(cx, node, want):
    wants = (
        want.items if isinstance(want, TupleType) and len(want.items) == len(node.elts) else None
    )
    items = [value(cx, item, wants[i] if wants else None) for i, item in enumerate(node.elts)]
    return typed.MakeTuple(node, intern(TupleType, tuple(item.type for item in items)), items)


@rule(ast.List)
def _list(cx, node, want):
    if not isinstance(want, ArrayType):
        cx.error(
            node,
            "a list display needs an array type from its context",
            help="annotate: `a: Array[u8, 4] = [...]`",
        )
    if len(node.elts) != want.count:
        cx.error(node, f"{len(node.elts)} elements for `{want}`")
    element = want.element.element if isinstance(want.element, VolatileType) else want.element
    return typed.MakeArray(node, want, [value(cx, item, element) for item in node.elts])


@rule(ast.IfExp)
def _choose(cx, node, want):
    from kpy.check.narrow import condition

    test, yes, no = condition(cx, node.test)
    if isinstance(test, typed.Const):
        return expression(cx, node.body if test.value else node.orelse, want)
    before = set(cx.narrowed)
    cx.narrowed = before | yes
    then = expression(cx, node.body, want)
    after_then, cx.narrowed = cx.narrowed, before | no
    other = expression(cx, node.orelse, want)
    cx.narrowed &= after_then
    is_result = isinstance(want, ResultType)
    type_ = want if is_result else _alternative_type(cx, then, other, want)
    return typed.Choose(node, type_, test, coerce(cx, then, type_), coerce(cx, other, type_))


def _alternative_type(cx, then, other, want):
    """The type of a conditional expression; the context decides for literals and null only."""
    literals = then.type is UNTYPED and other.type is UNTYPED
    if want is not None and (is_integer(want) if literals else optional(want)):
        return want
    return common_type(cx, then, other)


def common_type(cx, left, right):
    """The type that two alternatives agree on."""
    for one, two in ((left, right), (right, left)):
        if one.type is NULL and optional(two.type):
            return optional(two.type)
        if is_optional(one.type) and non_null(one.type) is non_null(two.type):
            return one.type
        if isinstance(one.type, TaintedType) and two.type in (one.type.inner, UNTYPED):
            return one.type
        if one.type is UNTYPED and is_integer(two.type):
            return two.type
    literals = [e for e in (left, right) if e.type is UNTYPED]
    if len(literals) == 2 and any(e.value < 0 and not e.inverted for e in literals):
        return i64
    return settle(cx, left).type


@rule(ast.JoinedStr)
def _f_string(cx, node, want):
    return cx.error(
        node, "an f-string is the argument of a formatter such as `printk`, nothing else"
    )


@rule(ast.Starred)
def _starred(cx, node, want):
    return cx.error(
        node, "kernel Python has no `*` here", help="name each part; many values are a `Slice[T]`"
    )


def describe(expr):
    """The type of an operand and where it comes from, for a note below it."""
    if isinstance(expr, typed.Local) and expr.var.line != expr.at.lineno:
        return f"`{expr.type}`, from line {expr.var.line}"
    if isinstance(expr, typed.FieldOf):
        return f"`{expr.type}`, in `{expr.base.type}`"
    return f"`{expr.type}`"
