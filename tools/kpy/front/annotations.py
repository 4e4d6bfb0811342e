"""From what stands in an annotation to a type, and the subscriptable names `Ptr`, `Array` …

A type named by a string, or by the promise of an import cycle, stays a `LazyType` until `resolve`.
"""

import importlib
import sys
import typing

from kpy.front.diagnostics import Refused
from kpy.front.forward import Forward
from kpy.front.later import Later, NotYet
from kpy.front.types import (
    BOOL,
    NEVER,
    NONE,
    ArrayType,
    FnType,
    GuestType,
    LazyType,
    Newtype,
    PtrType,
    ResultType,
    SliceType,
    TaintedPromise,
    TupleType,
    Type,
    TypeArgument,
    TypeVar,
    VolatileType,
    intern,
)

HALF_IMPORTED = (
    "the size of `{}` is needed while its module is only half imported: break the circle of "
    "imports that leads here"
)
_scopes: dict = {}
_NO_SCOPE: dict = {}
_typing_variables: dict = {}


class _Scope:
    """A namespace, to be compared by identity."""

    def __init__(self, names):
        self.names = names


def lazy(text, scope):
    """The type that a string names in a namespace."""
    known = _scopes.setdefault(id(scope), _Scope(scope))
    return intern(LazyType, text, known)


def as_type(obj, scope):
    """Turn what stands in an annotation into a type; strings refer to names of `scope`."""
    if isinstance(obj, Type):
        return obj
    if isinstance(obj, str):
        return lazy(obj, scope)
    if isinstance(obj, Forward):
        return lazy(f"{obj.module}.{obj.name}", _NO_SCOPE)
    simple = {None: NONE, type(None): NONE, bool: BOOL, typing.Never: NEVER, typing.NoReturn: NEVER}
    if isinstance(obj, typing.Hashable) and obj in simple:
        return simple[obj]
    if isinstance(obj, typing.TypeVar):
        return _typing_variables.setdefault(obj, TypeVar(obj.__name__))
    origin, arguments = typing.get_origin(obj), typing.get_args(obj)
    if origin is tuple:
        return intern(TupleType, tuple(as_type(item, scope) for item in arguments))
    if origin is type:
        return intern(TypeArgument, as_type(arguments[0], scope))
    name = getattr(obj, "__name__", obj)
    raise Refused(f"`{name}` is not a kernel Python type", _instead_of(obj, origin))


INSTEAD = {
    int: "`u8` … `u64`, `i8` … `i64`",
    float: "count in a smaller unit, as an integer",
    str: "text is a `Slice[u8]`",
    bytes: "bytes are a `Slice[u8]`, or an `Array[u8, N]`",
    list: "`Array[T, N]`, or a `Slice[T]` of one",
    tuple: "`tuple[T, U]`",
    dict: "an `Array[T, N]` that the key indexes",
    set: "flags are bits of an integer",
    typing.Optional: "`Ptr[T] | None`",
    typing.Union: "`Ptr[T] | None`; a `@union` holds one of several",
}


def _instead_of(obj, origin):
    """What to write for a type of Python's."""
    for known, advice in INSTEAD.items():
        if known is obj or known is origin:
            return advice
    if isinstance(obj, type) and obj.__module__ != "builtins":
        return f"write `@struct` above `class {obj.__name__}`"
    return ""


def _find(text, scope):
    """Evaluate a type name in its module, importing the module that a dotted name mentions."""
    try:
        return eval(text, scope)
    except (NameError, AttributeError):
        module, _, name = text.rpartition(".")
        if not module and getattr(scope.get("__spec__"), "_initializing", False):
            raise NotYet(HALF_IMPORTED.format(text)) from None
        if not module:
            raise
        return getattr(importlib.import_module(module), name)


def outermost(type_):
    """Look a type up that is named by a string, but none that it mentions: its size is known."""
    if isinstance(type_, TaintedPromise):
        return outermost(type_.inner)
    while isinstance(type_, LazyType):
        found = as_type(_find(type_.name, type_.scope), type_.scope)
        if isinstance(found, LazyType) and found.name == type_.name:
            raise NotYet(HALF_IMPORTED.format(type_.name))
        type_ = found
    if isinstance(type_, ArrayType) and isinstance(type_.count, Forward):
        count = type_.count.find()
        if isinstance(count, Forward):
            raise NotYet(HALF_IMPORTED.format(type_.name))
        return intern(ArrayType, type_.element, count)
    return type_


def resolve(type_):
    """Replace every type named by a string with the type itself."""
    return rewrite(type_, lambda leaf: leaf)


def rewrite(type_, leaf):
    """Rebuild a type from its leaves; `leaf` maps type variables."""
    if isinstance(type_, LazyType):
        return rewrite(as_type(_find(type_.name, type_.scope), type_.scope), leaf)
    if isinstance(type_, TypeVar):
        return leaf(type_)
    if isinstance(type_, PtrType):
        return intern(PtrType, rewrite(type_.target, leaf), type_.nullable)
    if isinstance(type_, ArrayType):
        count = leaf(type_.count) if isinstance(type_.count, TypeVar) else type_.count
        count = count.find() if isinstance(count, Forward) else count
        return intern(ArrayType, rewrite(type_.element, leaf), count)
    if isinstance(type_, (SliceType, VolatileType)):
        return intern(type(type_), rewrite(type_.element, leaf))
    if isinstance(type_, GuestType):
        return intern(GuestType, rewrite(type_.target, leaf).untainted())
    if isinstance(type_, TaintedPromise):
        return rewrite(type_.inner, leaf).tainted()
    if isinstance(type_, TypeArgument):
        return intern(TypeArgument, rewrite(type_.variable, leaf))
    if isinstance(type_, ResultType):
        return intern(ResultType, rewrite(type_.value, leaf))
    if isinstance(type_, TupleType):
        return intern(TupleType, tuple(rewrite(item, leaf) for item in type_.items))
    if isinstance(type_, FnType):
        params = tuple(rewrite(item, leaf) for item in type_.params)
        return intern(FnType, params, rewrite(type_.result, leaf), type_.nullable)
    return type_


class Maker:
    """The subscriptable names of types: `Ptr`, `Array`, `Slice`, `Guest` and their kin."""

    def __init__(self, name, build):
        self.name, self.build = name, build

    def __getitem__(self, arguments):
        return self.apply(arguments, sys._getframe(1).f_globals)

    def apply(self, arguments, scope):
        arguments = arguments if isinstance(arguments, tuple) else (arguments,)
        return self.build(scope, *arguments)


def _array(scope, element, *count):
    if len(count) != 1:
        raise Refused("an array has an element type and a count", "`Array[u8, 16]`")
    (count,) = count
    if isinstance(count, typing.TypeVar):
        count = as_type(count, scope)
    if isinstance(count, Later):
        count = int(count)
    if isinstance(count, int) and count < 0:
        raise Refused(f"`Array[{element}, {count}]`: the count is negative")
    if not isinstance(count, (int, TypeVar, Forward)):
        raise TypeError(
            f"`Array[{element}, {count}]`: the count must be an integer known at build time"
        )
    return intern(ArrayType, as_type(element, scope), count)


def _fn(scope, params, result):
    params = tuple(as_type(item, scope) for item in params)
    return intern(FnType, params, as_type(result, scope), False)


def _tainted(scope, inner):
    inner = as_type(inner, scope)
    made = inner.tainted()
    if made is inner and inner.untainted() is inner:
        raise TypeError(f"`Tainted[{inner}]`: only integers, structs and arrays can be tainted")
    return made


Ptr = Maker("Ptr", lambda scope, target: intern(PtrType, as_type(target, scope), False))


Slice = Maker("Slice", lambda scope, element: intern(SliceType, as_type(element, scope)))


Guest = Maker("Guest", lambda scope, target: intern(GuestType, as_type(target, scope).untainted()))


Tainted = Maker("Tainted", _tainted)


Volatile = Maker("Volatile", lambda scope, element: intern(VolatileType, as_type(element, scope)))


Result = Maker("Result", lambda scope, value: intern(ResultType, as_type(value, scope)))


Array = Maker("Array", _array)


Fn = Maker("Fn", _fn)


def newtype(name, base, *, none=None):
    """Make a distinct integer type with the representation of `base`; `none` is the value that
    `… | None` has for None."""
    if none is not None:
        base(none)
    return Newtype(name, base, sys._getframe(1).f_globals["__name__"], none)
