"""`@struct`, `@union` and `@enum`: classes that become types.

A struct is laid out as C would on x86-64. The layout is computed when it is first asked for,
because a field may mention a type that is not imported yet.
"""

import sys
from dataclasses import dataclass, replace

from kpy.front.annotations import as_type, outermost, resolve
from kpy.front.diagnostics import Refused
from kpy.front.later import NotYet
from kpy.front.types import (
    BOOL,
    ArrayType,
    EnumType,
    FnType,
    GuestType,
    IntType,
    Newtype,
    OptionalType,
    PtrType,
    PythonFunction,
    SliceType,
    TaintedType,
    Type,
    VolatileType,
    intern,
)

NO_BASE = "make `{base}` a field, `base: {base}`; what both need are functions of that"


@dataclass(frozen=True)
class Field:
    """A field of a struct: its type (with `Volatile` taken off) and its offset in bytes."""

    name: str
    type: Type
    offset: int
    volatile: bool
    packed: bool


@dataclass
class StructValue:
    """A struct made at module level, for the initial value of a static."""

    type: Type
    fields: dict


class LayoutError(Exception):
    """A struct that cannot be laid out: which one, which field, and why."""

    def __init__(self, struct, field, reason):
        super().__init__(f"struct `{struct}`, field `{field}`: {reason}")
        self.struct, self.field, self.reason = struct, field, reason


class StructType(Type):
    """A struct or union: fields, methods, and constants of the class body."""

    def __init__(self, cls, is_union=False, align=1, size=0, packed=False):
        self.name, self.module, self.qualname = cls.__name__, cls.__module__, cls.__qualname__
        self.is_union, self.packed = is_union, packed
        self._min_align, self._min_size = align, size
        self._scope = vars(sys.modules[cls.__module__])
        self.path = self._scope["__file__"]
        self._annotations = dict(cls.__annotations__)
        self.namespace = {k: v for k, v in vars(cls).items() if not _is_class_plumbing(k)}
        self.doc = cls.__doc__
        self._fields = self._offsets = None
        self._measuring = False
        for value in self.namespace.values():
            if isinstance(value, PythonFunction):
                value.__kpy_owner__ = self

    def __getattr__(self, name):
        namespace = self.__dict__.get("namespace", {})
        if name in namespace:
            return namespace[name]
        raise AttributeError(f"struct {self.__dict__.get('name')} has no attribute {name}")

    def __call__(self, **fields):
        return StructValue(self, fields)

    @property
    def fields(self):
        """The fields by name, their types resolved; for when all modules are imported."""
        if self._fields is None:
            fields = {name: self._field(name) for name in self.offsets}
            self._fields = fields
        return self._fields

    @property
    def offsets(self):
        self._lay_out()
        return self._offsets

    @property
    def size(self):
        self._lay_out()
        return self._size

    @property
    def align(self):
        self._lay_out()
        return self._align

    def tainted(self):
        return intern(TaintedStruct, self)

    def method(self, name):
        found = self.namespace.get(name)
        return found if isinstance(found, PythonFunction) else None

    def _lay_out(self):
        if self._offsets is not None:
            return
        offsets, end, align = {}, 0, self._min_align
        for name, annotation in self._annotations.items():
            bytes_, natural = self._measure(name, annotation)
            field_align = 1 if self.packed else natural
            offsets[name] = 0 if self.is_union else _round_up(end, field_align)
            end = max(end, offsets[name] + bytes_)
            align = max(align, field_align)
        size = _round_up(end, align)
        if self._min_size and size > self._min_size:
            reason = f"the struct takes {size} bytes, more than size={self._min_size}"
            raise LayoutError(self, next(reversed(offsets)), reason)
        self._size, self._align, self._offsets = max(size, self._min_size), align, offsets

    def _measure(self, name, annotation):
        """The size and alignment of a field."""
        if self._measuring:
            raise LayoutError(self, name, "the struct contains itself; use a pointer")
        self._measuring = True
        try:
            type_ = as_type(annotation, self._scope)
            return size_of(type_), align_of(type_)
        except (LayoutError, NotYet):
            raise
        except Exception as error:
            raise LayoutError(self, name, _reason(error)) from None
        finally:
            self._measuring = False

    def _field(self, name):
        try:
            type_ = resolve(as_type(self._annotations[name], self._scope))
        except Exception as error:
            raise LayoutError(self, name, _reason(error)) from None
        volatile = isinstance(type_, VolatileType)
        return Field(
            name, type_.element if volatile else type_, self._offsets[name], volatile, self.packed
        )


def _reason(error):
    return str(error) if isinstance(error, Refused) else f"{type(error).__name__}: {error}"


class TaintedStruct(StructType):
    """`Tainted[abi.mmuext_op]`: a struct of the same layout whose integers a guest gave."""

    def __init__(self, struct):
        vars(self).update(vars(struct))
        self.struct, self.name = struct, f"Tainted[{struct.name}]"
        self._tainted_fields = None

    @property
    def fields(self):
        if self._tainted_fields is None:
            self._tainted_fields = {
                name: replace(field, type=field.type.tainted())
                for name, field in self.struct.fields.items()
            }
        return self._tainted_fields

    @property
    def offsets(self):
        return self.struct.offsets

    @property
    def size(self):
        return self.struct.size

    @property
    def align(self):
        return self.struct.align

    def tainted(self):
        return self

    def untainted(self):
        return self.struct


def _is_class_plumbing(name):
    """Say whether Python itself put a name into a class, which differs from version to version."""
    return name in PLUMBING


def _round_up(value, align):
    return (value + align - 1) // align * align


def size_of(type_):
    """The size in bytes of a value in memory."""
    type_ = outermost(type_)
    if isinstance(type_, (IntType, Newtype, OptionalType, TaintedType, EnumType)):
        return type_.bits // 8
    if type_ is BOOL:
        return 1
    if isinstance(type_, (PtrType, FnType, GuestType)):
        return 8
    if isinstance(type_, SliceType):
        return 16
    if isinstance(type_, VolatileType):
        return size_of(type_.element)
    if isinstance(type_, ArrayType) and isinstance(type_.count, int):
        return size_of(type_.element) * type_.count
    if isinstance(type_, StructType):
        return type_.size
    raise TypeError(f"`{type_}` has no size")


def align_of(type_):
    """The alignment in bytes of a value in memory."""
    type_ = outermost(type_)
    if isinstance(type_, (ArrayType, VolatileType)):
        return align_of(type_.element)
    if isinstance(type_, StructType):
        return type_.align
    return 8 if isinstance(type_, SliceType) else size_of(type_)


def never_zero(type_):
    """The part of a type that must not start as zero bytes, which would be a number instead of
    None; None where there is no such part."""
    if isinstance(type_, OptionalType):
        return type_ if type_.none else None
    if isinstance(type_, (ArrayType, VolatileType)):
        return never_zero(type_.element)
    if isinstance(type_, StructType):
        return next(filter(None, (never_zero(f.type) for f in type_.fields.values())), None)
    return None


def offset_of(type_, name):
    """The offset in bytes of a field."""
    offsets = outermost(type_).offsets
    if name not in offsets:
        raise TypeError(f"struct `{type_}` has no field `{name}`")
    return offsets[name]


PLUMBING = {
    *("__module__", "__qualname__", "__doc__", "__dict__", "__weakref__", "__annotations__"),
    *("__firstlineno__", "__static_attributes__"),  # Python 3.13
    *("__annotate__", "__annotate_func__", "__annotations_cache__", "__classdictcell__"),  # 3.14
    "__conditional_annotations__",
}
OPERATORS = "kernel Python calls `__enter__` and `__exit__` only, for `with`"


def _refuse_class(cls):
    """Report what classes have in Python only, and would silently not have here."""
    kind = "an enum" if issubclass(cls, int | str) or hasattr(cls, "__members__") else "a struct"
    if cls.__bases__ != (object,):
        base = cls.__bases__[0].__name__
        raise Refused(
            f"`{cls.__name__}` has a base class: {kind} has none", NO_BASE.format(base=base)
        )
    fields = cls.__annotations__
    for name, value in vars(cls).items():
        if _is_class_plumbing(name):
            continue
        if name in fields:
            raise Refused(
                f"field `{name}` of `{cls.__name__}` has a default value",
                f"every field starts as zero; `{cls.__name__}({name}=…)` sets it",
            )
        _refuse_member(cls.__name__, name, value)


def _refuse_member(owner, name, value):
    if isinstance(value, (staticmethod, classmethod)):
        raise Refused(
            f"`{owner}.{name}` is a {type(value).__name__}",
            "write a function at module level",
            value.__func__,
        )
    if isinstance(value, property):
        raise Refused(f"`{owner}.{name}` is a property", "write a method, and call it", value.fget)
    if not isinstance(value, PythonFunction):
        return
    if name == "__init__":
        advice = f"`{owner}(field=value)` makes one; what more there is to do, a function does"
        raise Refused("a struct has no `__init__`", advice, value)
    if name.startswith("__") and name not in ("__enter__", "__exit__"):
        raise Refused(f"`{name}` of a struct is never called", OPERATORS, value)
    if value.__code__.co_varnames[:1] != ("self",) or not value.__code__.co_argcount:
        raise Refused(
            f"the first parameter of the method `{owner}.{name}` is `self`",
            f"`def {name}(self, …)`, or write a function at module level",
            value,
        )


def struct(cls=None, *, align=1, size=0, packed=False):
    """Make a struct type of a class whose annotations are the fields."""
    if cls is None:
        return lambda cls: struct(cls, align=align, size=size, packed=packed)
    _refuse_class(cls)
    return StructType(cls, False, align, size, packed)


def union(cls=None, *, align=1, size=0):
    """Make a union type: every field at offset 0."""
    if cls is None:
        return lambda cls: union(cls, align=align, size=size)
    _refuse_class(cls)
    return StructType(cls, True, align, size)


def enum(base):
    """Make an enum type of a class whose integer attributes are the members."""

    if not isinstance(base, IntType):
        raise Refused("`@enum` takes the type of its members", "`@enum(u8)`")

    def decorate(cls):
        _refuse_class(cls)
        values = {k: v for k, v in vars(cls).items() if not _is_class_plumbing(k)}
        for name, value in values.items():
            if not isinstance(value, int):
                raise Refused(
                    f"`{cls.__name__}.{name}` is no integer", f"number the members, `{name} = 0`"
                )
        return EnumType(cls.__name__, base, cls.__module__, values)

    return decorate
