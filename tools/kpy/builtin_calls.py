"""Checking of the language's own functions, one table entry each."""


from kpy import typed
from kpy.check_expr import common_type, expression, indexable, integer, need_non_null, place, value
from kpy.convert import coerce, fit, settle
from kpy.operators import arithmetic
from kpy.structs import StructType, align_of, offset_of, size_of
from kpy.types import (
    BOOL,
    NEVER,
    NONE,
    UNTYPED,
    ArrayType,
    EnumType,
    GuestType,
    IntType,
    PtrType,
    SliceType,
    TupleType,
    VolatileType,
    intern,
    is_integer,
    is_pointer,
    u64,
)

CHECKS = {}
PYTHON_BUILTINS = {}
GUEST_METHODS = {}


def builtin(*names):
    """Register the check of builtins; it gets the name, the argument nodes and the context's type."""

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
    volatile = getattr(found, "volatile", False) or isinstance(found, typed.FieldOf) and found.field.volatile
    type_ = intern(VolatileType, found.type) if volatile else found.type
    if isinstance(found, typed.Local) and is_pointer(found.type):
        type_ = found.var.type
    return typed.AddressOf(node, intern(PtrType, type_, False), found)


@builtin("load", "volatile_load")(1)
def _load(cx, node, name, want, pointer):
    pointer = _pointer(cx, pointer)
    type_, volatile = _target(pointer)
    return typed.Deref(node, type_, pointer, volatile or name == "volatile_load")


@builtin("store", "volatile_store")(2)
def _store(cx, node, name, want, pointer, new):
    pointer = _pointer(cx, pointer)
    type_, volatile = _target(pointer)
    target = typed.Deref(node, type_, pointer, volatile or name == "volatile_store")
    return typed.Operation(node, NONE, "store", [target, value(cx, new, type_)])


def _atomic_target(cx, node):
    pointer = _pointer(cx, node)
    type_, _ = _target(pointer)
    if not (is_integer(type_) or is_pointer(type_) or isinstance(type_, EnumType) or type_ is BOOL):
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
    if name != "atomic_xchg" and not is_integer(type_):
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
    if destination.type is not origin.type:
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
    if destination.type is not origin.type:
        cx.error(node, f"cannot copy a `{origin.type}` to a `{destination.type}`")
    return typed.Operation(node, NONE, "copy_slice", [destination, origin])


@builtin("cast")(2)
def _cast(cx, node, name, want, target, pointer):
    type_, expr = cx.type_at(target), value(cx, pointer)
    if not isinstance(expr.type, PtrType):
        cx.error(pointer, f"expected a pointer, found `{expr.type}`", help="`Ptr[T](address)` makes one of an address")
    return typed.Convert(node, intern(PtrType, type_, expr.type.nullable), expr, "same")


@builtin("container_of")(3)
def _container_of(cx, node, name, want, pointer, target, field):
    pointer, type_ = _pointer(cx, pointer), cx.type_at(target)
    found = _field(cx, type_, target, field)
    if found.type is not _target(pointer)[0]:
        cx.error(pointer.at, f"field `{found.name}` of `{type_}` is a `{found.type}`, not a `{pointer.type.target}`")
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
    if not isinstance(expr.type, IntType) and not is_integer(expr.type) or not is_integer(type_):
        cx.error(node, f"cannot truncate `{expr.type}` to `{type_}`: it takes integers")
    return typed.Convert(node, type_, expr, "truncate")


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


def _two(cx, node, want, left, right):
    """Two operands of one integer type."""
    one, two = expression(cx, left, want), expression(cx, right, want)
    type_ = want if want is not None and one.type is UNTYPED and two.type is UNTYPED else common_type(cx, one, two)
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
    operation.type = intern(TupleType, (operation.type, BOOL))
    return operation


@builtin("popcount", "clz", "ctz", "bswap")(1)
def _bits(cx, node, name, want, number):
    expr = settle(cx, expression(cx, number, want if want is not None and is_integer(want) else None))
    if not isinstance(expr.type, IntType):
        cx.error(number, f"`{name}` takes an integer, not `{expr.type}`")
    return typed.Operation(node, expr.type, name, [expr])


@builtin("bit")(1)
def _bit(cx, node, name, want, number):
    index = expression(cx, number)
    if isinstance(index, typed.Const) and index.value >= 0:
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
    base, _, _ = indexable(cx, base)
    if isinstance(base.type, ArrayType):
        return typed.Const(node, UNTYPED, base.type.count)
    return typed.SlicePart(node, u64, base, "len")


def _extreme(name):
    def check(cx, node, want):
        if len(node.args) != 2:
            cx.error(node, f"`{name}` takes 2 arguments here")
        left, right = (expression(cx, argument, want) for argument in node.args)
        if left.type is UNTYPED and right.type is UNTYPED:
            return typed.Const(node, UNTYPED, (min if name == "min" else max)(left.value, right.value))
        one, two, type_ = _two(cx, node, want, *node.args)
        return typed.Operation(node, type_, name, [one, two])

    return check


python_builtin(min)(_extreme("min"))
python_builtin(max)(_extreme("max"))


def _only_in_for(cx, node, want):
    return cx.error(node, f"`{cx.text(node.func)}` works in a `for` statement only")


for _iterator in (range, enumerate, reversed):
    python_builtin(_iterator)(_only_in_for)


def guest_method(count):
    """Register a method of `Guest[T]`."""

    def register(function):
        def check(cx, node, guest):
            if len(node.args) != count:
                cx.error(node, f"`{node.func.attr}` takes {count} arguments")
            return function(cx, node, guest, *node.args)

        GUEST_METHODS[function.__name__.strip("_")] = check
        return function

    return register


@guest_method(1)
def _index(cx, node, guest, number):
    size = typed.Const(node, u64, size_of(guest.type.target))
    offset = typed.Binary(node, u64, "*", length(cx, number), size, "wrapping")
    base = typed.Convert(node, u64, guest, "same")
    return typed.Convert(node, guest.type, typed.Binary(node, u64, "+", base, offset, "wrapping"), "same")


@guest_method(0)
def _address(cx, node, guest):
    return typed.Convert(node, u64, guest, "same")


@guest_method(1)
def _cast_guest(cx, node, guest, target):
    return typed.Convert(node, intern(GuestType, cx.type_at(target)), guest, "same")


GUEST_METHODS["cast"] = GUEST_METHODS.pop("cast_guest")
