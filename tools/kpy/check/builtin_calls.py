"""Checking of the language's own functions, one table entry each."""

from kpy.check import typed
from kpy.check.convert import coerce, settle
from kpy.check.expr import expression, integer, need_non_null, place, value
from kpy.check.paths import known
from kpy.check.taint import bare, holds_tainted, is_tainted, taint
from kpy.front.structs import StructType, align_of, offset_of, size_of
from kpy.front.types import (
    BOOL,
    NEVER,
    NONE,
    UNTYPED,
    ArrayType,
    EnumType,
    PtrType,
    SliceType,
    TaintedType,
    TupleType,
    VolatileType,
    intern,
    is_integer,
    is_pointer,
    is_uncertain,
    u64,
)

CHECKS = {}


def builtin(*names):
    """Register the check of builtins; it gets the name, the context's type and the arguments."""

    def register(count):
        def outer(function):
            for name in names:
                CHECKS[name] = _counted(function, name, count)
            return function

        return outer

    return register


def _counted(function, name, count):
    def check(cx, node, want):
        if count is not None and len(node.args) != count:
            plural = "" if count == 1 else "s"
            cx.error(node, f"`{name}` takes {count} argument{plural}, not {len(node.args)}")
        return function(cx, node, name, want, *node.args)

    return check


def length(cx, node):
    """An index or length, as u64."""
    expr = integer(cx, node)
    return expr if expr.type is u64 else typed.Convert(node, u64, expr, "checked")


def _pointer(cx, node):
    expr = value(cx, node)
    if not isinstance(expr.type, PtrType):
        advice = f"take its address, `ref({cx.text(node)})`"
        cx.error(node, f"expected a pointer, found `{expr.type}`", help=advice)
    need_non_null(cx, expr)
    return expr


def _target(pointer):
    """What a pointer points to, with `Volatile` taken off."""
    target = pointer.type.target
    return (target.element, True) if isinstance(target, VolatileType) else (target, False)


@builtin("ref")(1)
def _ref(cx, node, name, want, target):
    found = place(cx, target)
    volatile = (
        getattr(found, "volatile", False)
        or isinstance(found, typed.FieldOf)
        and found.field.volatile
    )
    type_ = intern(VolatileType, found.type) if volatile else found.type
    if isinstance(found, typed.Local) and not isinstance(found.type, (StructType, ArrayType)):
        cx.keep_held(target, found.var)
    return typed.AddressOf(node, intern(PtrType, type_, False), found)


@builtin("load", "volatile_load")(1)
def _load(cx, node, name, want, pointer):
    pointer = _pointer(cx, pointer)
    type_, volatile = _target(pointer)
    return known(cx, typed.Deref(node, type_, pointer, volatile or name == "volatile_load"))


@builtin("store", "volatile_store")(2)
def _store(cx, node, name, want, pointer, new):
    pointer = _pointer(cx, pointer)
    type_, volatile = _target(pointer)
    target = typed.Deref(node, type_, pointer, volatile or name == "volatile_store")
    return typed.Operation(node, NONE, "store", [target, value(cx, new, type_)])


def _atomic_target(cx, node):
    pointer = _pointer(cx, node)
    type_, _ = _target(pointer)
    words = is_integer(type_) or is_pointer(type_) or is_uncertain(type_)
    if not words and not isinstance(type_, EnumType) and type_ is not BOOL:
        cx.error(node, f"`{type_}` is no type for an atomic operation")
    return pointer, type_


@builtin("atomic_load")(1)
def _atomic_load(cx, node, name, want, pointer):
    pointer, type_ = _atomic_target(cx, pointer)
    return typed.Operation(node, type_, name, [pointer])


@builtin("atomic_store")(2)
def _atomic_store(cx, node, name, want, pointer, new):
    pointer, type_ = _atomic_target(cx, pointer)
    return typed.Operation(node, NONE, name, [pointer, value(cx, new, type_)])


@builtin("atomic_add", "atomic_sub", "atomic_or", "atomic_and", "atomic_xor", "atomic_xchg")(2)
def _atomic_update(cx, node, name, want, pointer, operand):
    pointer, type_ = _atomic_target(cx, pointer)
    arithmetic = name in ("atomic_add", "atomic_sub")
    is_number = is_integer(type_) or isinstance(type_, TaintedType) and not arithmetic
    if name != "atomic_xchg" and not is_number:
        cx.error(node, f"`{name}` takes a pointer to an integer, not to `{type_}`")
    expr = expression(cx, operand, type_)
    if expr.type is UNTYPED and expr.value < 0 and not type_.signed:
        expr = typed.Const(operand, type_, expr.value & (1 << type_.bits) - 1)
    return typed.Operation(node, type_, name, [pointer, coerce(cx, expr, type_)])


@builtin("atomic_cas")(3)
def _atomic_cas(cx, node, name, want, pointer, expected, new):
    pointer, type_ = _atomic_target(cx, pointer)
    operands = [pointer, value(cx, expected, type_), value(cx, new, type_)]
    return typed.Operation(node, intern(TupleType, (type_, BOOL)), name, operands)


@builtin("barrier", "fence")(0)
def _fence(cx, node, name, want):
    return typed.Operation(node, NONE, name, [])


@builtin("zero")(1)
def _zero(cx, node, name, want, pointer):
    pointer = _pointer(cx, pointer)
    return typed.Operation(node, NONE, "zero", [pointer])


@builtin("copy")(2)
def _copy(cx, node, name, want, destination, origin):
    destination, origin = _pointer(cx, destination), _pointer(cx, origin)
    if destination.type.target not in (origin.type.target, origin.type.target.tainted()):
        cx.error(node, f"cannot copy a `{origin.type.target}` to a `{destination.type.target}`")
    return typed.Operation(node, NONE, "copy", [destination, origin])


def _slice(cx, node):
    expr = value(cx, node)
    if not isinstance(expr.type, SliceType):
        advice = f"make a slice, `{cx.text(node)}[:]`" if isinstance(expr.type, ArrayType) else ""
        cx.error(node, f"expected a slice, found `{expr.type}`", help=advice)
    return expr


@builtin("fill")(2)
def _fill(cx, node, name, want, target, new):
    target = _slice(cx, target)
    return typed.Operation(node, NONE, "fill", [target, value(cx, new, target.type.element)])


@builtin("copy_slice")(2)
def _copy_slice(cx, node, name, want, destination, origin):
    destination, origin = _slice(cx, destination), _slice(cx, origin)
    if destination.type.element not in (origin.type.element, origin.type.element.tainted()):
        cx.error(node, f"cannot copy a `{origin.type}` to a `{destination.type}`")
    return typed.Operation(node, NONE, "copy_slice", [destination, origin])


@builtin("cast")(2)
def _cast(cx, node, name, want, target, pointer):
    type_, expr = cx.type_at(target), value(cx, pointer)
    if not isinstance(expr.type, PtrType):
        cx.error(
            pointer,
            f"expected a pointer, found `{expr.type}`",
            help="`Ptr[T](address)` makes one of an address",
        )
    if holds_tainted(expr.type.target):
        type_ = type_.tainted()
    return typed.Convert(node, intern(PtrType, type_, expr.type.nullable), expr, "same")


@builtin("container_of")(3)
def _container_of(cx, node, name, want, pointer, target, field):
    pointer, type_ = _pointer(cx, pointer), cx.type_at(target)
    found = _field(cx, type_, target, field)
    if found.type is not _target(pointer)[0]:
        cx.error(
            pointer.at,
            f"field `{found.name}` of `{type_}` is a `{found.type}`, not a `{pointer.type.target}`",
        )
    offset = typed.Const(node, u64, found.offset)
    return typed.Operation(node, intern(PtrType, type_, False), name, [pointer, offset])


def _field(cx, type_, target, field):
    name = cx.build_value(field)
    if not isinstance(type_, StructType) or name not in type_.fields:
        cx.error(field, f"`{type_}` has no field `{name}`")
    return type_.fields[name]


@builtin("uninitialized")(1)
def _uninitialized(cx, node, name, want, target):
    return typed.Uninitialized(node, cx.type_at(target))


@builtin("sizeof", "alignof")(1)
def _size(cx, node, name, want, target):
    try:
        measured = (size_of if name == "sizeof" else align_of)(cx.type_at(target))
    except TypeError as error:
        return cx.error(target, str(error))
    return typed.Const(node, UNTYPED, measured)


@builtin("offsetof")(2)
def _offset(cx, node, name, want, target, field):
    type_ = cx.type_at(target)
    return typed.Const(node, UNTYPED, offset_of(type_, _field(cx, type_, target, field).name))


@builtin("truncate")(2)
def _truncate(cx, node, name, want, target, number):
    type_, expr = cx.type_at(target), settle(cx, expression(cx, number))
    plain = type_.inner if isinstance(type_, TaintedType) else type_
    if not is_integer(bare(expr).type) or not is_integer(plain):
        cx.error(node, f"cannot truncate `{expr.type}` to `{type_}`: it takes integers")
    result = typed.Convert(node, plain, bare(expr), "truncate")
    return taint(result) if is_tainted(expr) or plain is not type_ else result


@builtin("panic")(1)
def _panic(cx, node, name, want, text):
    message = cx.build_value(text)
    if not isinstance(message, str):
        cx.error(text, "`panic` takes a string known at build time")
    return typed.Operation(node, NEVER, "panic", [cx.wrap(text, message)])


@builtin("unreachable")(0)
def _unreachable(cx, node, name, want):
    return typed.Operation(node, NEVER, "panic", [cx.wrap(node, "unreachable code was reached")])


@builtin("require")(2)
def _require(cx, node, name, want, test, result):
    return cx.error(node, "`require` is a statement of its own")
