"""The initial values of statics, as LLVM constants."""

from kpy.front.annotations import resolve
from kpy.front.decorators import Static
from kpy.front.diagnostics import Diagnostic
from kpy.front.forward import Forward
from kpy.front.program import is_function
from kpy.front.structs import StructType, StructValue, align_of, never_zero, size_of
from kpy.front.types import (
    BOOL,
    ArrayType,
    FnType,
    GuestType,
    OptionalType,
    PtrType,
    SliceType,
    VolatileType,
    intern,
    u8,
)
from kpy.lower.types import escape, is_aggregate, memory_type, quote


class BadInitial(Exception):
    """An initial value that does not fit its type."""


def define_static(unit, static):
    """The definition of a static in its unit."""
    type_ = resolve(static.declared)
    try:
        shown = constant(unit, type_, initial_value(static, type_))
    except (BadInitial, TypeError, ValueError, OverflowError, KeyError) as error:
        _report(unit, static, error)
        shown = f"[{size_of(type_)} x i8] zeroinitializer"
    zero = shown.endswith("zeroinitializer")
    area = static.section or (
        f"{'.bss' if zero else '.data'}.{static.symbol}" if not unit.whole else ""
    )
    section = f', section "{area}"' if area else ""
    line, _, _ = _find_line(static.scope["__file__"], static.name)
    debug = unit.debug.static(static, type_, line)
    name, align = quote(static.symbol), align_of(type_)
    return f"{name} = {unit.local}global {shown}{section}, align {align}{debug}"


def initial_value(static, type_):
    """The initial value; a plain callable computes it when all modules are imported."""
    initial = static.initial
    if (
        callable(initial)
        and not isinstance(type_, FnType)
        and not isinstance(initial, (Static, StructType))
    ):
        return initial()
    return initial


def _report(unit, static, error):
    path = static.scope["__file__"]
    line, start, end = _find_line(path, static.name)
    message = f"initial value of `{static.name}`: {error}"
    unit.program.diagnostics.add(Diagnostic(path, line, start, end, message))


def _find_line(path, name):
    with open(path, encoding="utf-8") as file:
        for number, line in enumerate(file, 1):
            if line.startswith((f"{name} ", f"{name}:", f"{name}=")):
                return number, 0, len(name)
    return 1, 0, 1


def constant(unit, type_, value):
    """A typed LLVM constant for a Python value."""
    if isinstance(value, Forward):
        value = value.find()
    if value is None and isinstance(type_, OptionalType):
        return f"{memory_type(type_)} {type_.none or 'zeroinitializer'}"
    if value is None or _is_empty(value):
        if part := never_zero(type_):
            raise BadInitial(f"`{type_}` must be given: zeroed, its `{part}` would not be None")
        if is_aggregate(type_):
            return f"[{size_of(type_)} x i8] zeroinitializer"
        return f"{memory_type(type_)} zeroinitializer"
    if isinstance(type_, VolatileType):
        return constant(unit, type_.element, value)
    if isinstance(type_, StructType):
        return _struct(unit, type_, value)
    if isinstance(type_, ArrayType):
        return _array(unit, type_, value)
    if isinstance(type_, SliceType):
        return _slice(unit, type_, value)
    if isinstance(type_, (PtrType, FnType)):
        return f"ptr {_pointer(unit, type_, value)}"
    return _integer(type_, value)


def _is_empty(value):
    return isinstance(value, (dict, list, tuple, bytes)) and not value


def _integer(type_, value):
    if type_ is BOOL:
        return f"i8 {int(bool(value))}"
    if not isinstance(value, int):
        raise BadInitial(f"expected an integer for `{type_}`, found {value!r}")
    if not isinstance(type_, GuestType) and not type_.fits(value):
        raise BadInitial(f"{value} does not fit in `{type_}`")
    return f"{memory_type(type_)} {int(value)}"


def _pointer(unit, type_, value):
    if isinstance(value, Static):
        if isinstance(type_, PtrType) and resolve(value.declared) is not type_.target:
            raise BadInitial(f"`{value.name}` is a `{value.declared}`, not a `{type_.target}`")
        return unit.static(value)
    if is_function(value) and isinstance(type_, FnType):
        return _function(unit, type_, value)
    if isinstance(value, int):
        return f"inttoptr (i64 {int(value)} to ptr)"
    raise BadInitial(f"{value!r} is no `{type_}`")


def _function(unit, type_, python):
    function = unit.program.declare(python)
    if function is None or function.variables:
        raise BadInitial(f"`{python.__qualname__}` is not a compiled function")
    instance = unit.program.instantiate(function, {})
    have = intern(FnType, tuple(t for _, t in instance.params), instance.result, False)
    if (have.params, have.result) != (type_.params, type_.result):
        raise BadInitial(f"`{python.__qualname__}` is a `{have}`, not a `{type_}`")
    unit.addressed.append(instance)
    return unit.function(instance)


def _slice(unit, type_, value):
    if isinstance(value, str):
        value = value.encode()
    if isinstance(value, bytes) and type_.element is u8:
        return f"{{ ptr, i64 }} {{ ptr {unit.text(value)}, i64 {len(value)} }}"
    if isinstance(value, Static):
        return f"{{ ptr, i64 }} {{ ptr {unit.static(value)}, i64 {resolve(value.declared).count} }}"
    raise BadInitial(f"{value!r} is no `{type_}`")


def _array(unit, type_, value):
    element, count = type_.element, type_.count
    if isinstance(value, (bytes, str)) and element is u8:
        data = value.encode() if isinstance(value, str) else value
        if len(data) > count:
            raise BadInitial(f"{len(data)} bytes for `{type_}`")
        return f'[{count} x i8] c"{escape(data.ljust(count, bytes(1)))}"'
    items = value if isinstance(value, dict) else dict(enumerate(value))
    outside = [key for key in items if not 0 <= key < count]
    if outside:
        raise BadInitial(f"index {outside[0]} is outside `{type_}`")
    parts = [constant(unit, element, items.get(i)) for i in range(count)]
    return _packed(parts)


def _packed(parts):
    types = [
        part.rsplit(" ", 1)[0] if part.endswith("zeroinitializer") else _type_of(part)
        for part in parts
    ]
    return f"<{{ {', '.join(types)} }}> <{{ {', '.join(parts)} }}>"


def _type_of(part):
    """The type at the start of a typed constant."""
    closers = {"[": "]", "<": ">", "{": "}"}
    if part[0] not in closers:
        return part.split(" ", 1)[0]
    depth = 0
    for i, letter in enumerate(part):
        depth += (letter in "[<{") - (letter in "]>}")
        if depth == 0:
            return part[: i + 1]
    raise AssertionError(part)


def _struct(unit, type_, value):
    fields = value.fields if isinstance(value, StructValue) else value
    if not isinstance(fields, dict):
        raise BadInitial(f"expected a dict of fields for `{type_}`, found {value!r}")
    unknown = [name for name in fields if name not in type_.fields]
    if unknown:
        raise BadInitial(f"struct `{type_}` has no field `{unknown[0]}`")
    parts, end = [], 0
    chosen = [f for f in type_.fields.values() if not type_.is_union or f.name in fields]
    for field in chosen[:1] if type_.is_union else chosen:
        if field.offset > end:
            parts.append(f"[{field.offset - end} x i8] zeroinitializer")
        parts.append(constant(unit, field.type, fields.get(field.name)))
        end = field.offset + size_of(field.type)
    if type_.size > end:
        parts.append(f"[{type_.size - end} x i8] zeroinitializer")
    return _packed(parts)
