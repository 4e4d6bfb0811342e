"""The types of kernel Python, as objects that CPython can put into annotations.

Composite types are interned: two spellings of one type are the same object, so the rest of the
compiler compares types with `is`. A type may mention another by name
(`Ptr["kernel.state.domain.Domain"]`); such a `LazyType` is replaced by `resolve` once every module
is imported, which is how import cycles are broken.
"""

import types as python_types

from kpy.front.diagnostics import Refused


class Type:
    """Base of all types; `name` is what a programmer wrote."""

    name = "?"

    def __str__(self):
        return self.name

    def __repr__(self):
        return self.name

    def tainted(self):
        """The type of such a value that a guest gave: its integers are tainted."""
        return self

    def untainted(self):
        return self

    def __or__(self, other):
        raise TypeError(
            f"`{self} | None`: only a pointer, or a newtype that names its None, may be missing"
        )

    def __mro_entries__(self, bases):
        raise Refused(
            f"kernel Python has no inheritance, and `{self}` is no base class",
            f"make it a field, `base: {self}`",
        )


class TypedInt(int):
    """An integer of known type at build time, as made by `Mfn(5)` at module level."""

    def __new__(cls, value, type_):
        self = super().__new__(cls, value)
        self.type = type_
        return self

    def __reduce__(self):
        return int, (int(self),)

    def __invert__(self):
        return self._bits(~int(self))

    def __and__(self, other):
        return self._bits(int(self) & other)

    def __or__(self, other):
        return self._bits(int(self) | other)

    def __xor__(self, other):
        return self._bits(int(self) ^ other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def _bits(self, value):
        """Flags of a plain unsigned type keep it: `~u32(1)` is 0xfffffffe, a u32."""
        if not isinstance(self.type, IntType) or self.type.signed:
            return value
        return TypedInt(value & self.type.high, self.type)


class IntType(Type):
    def __init__(self, bits, signed):
        self.name = f"{'i' if signed else 'u'}{bits}"
        self.bits, self.signed = bits, signed
        self.low = -(1 << bits - 1) if signed else 0
        self.high = (1 << bits - signed) - 1

    def fits(self, value):
        return self.low <= value <= self.high

    def tainted(self):
        return intern(TaintedType, self)

    def __call__(self, value):
        if not self.fits(int(value)):
            raise OverflowError(f"{value} does not fit in {self}")
        return TypedInt(int(value), self)


class Newtype(Type):
    """A distinct integer type, such as `Mfn`; `none` is the value that stands for None, if any."""

    def __init__(self, name, base, module, none=None):
        self.name, self.base, self.module, self.none = name, base, module, none
        self.bits, self.signed = base.bits, base.signed
        self.fits = base.fits

    def __call__(self, value):
        return TypedInt(self.base(value), self)

    def tainted(self):
        return intern(TaintedType, self)

    def __or__(self, other):
        if other is not None:
            return Type.__or__(self, other)
        if self.none is None:
            raise TypeError(
                f"`{self} | None`: `{self}` has no value to spare for None; name one, "
                f'`newtype("{self}", {self.base}, none=…)`'
            )
        return intern(OptionalType, self)

    __ror__ = __or__


class OptionalType(Type):
    """`Mfn | None`: an `Mfn` or None, in the memory of an `Mfn`."""

    def __init__(self, newtype):
        self.newtype, self.none = newtype, newtype.none
        self.name = f"{newtype} | None"
        self.bits, self.signed, self.fits = newtype.bits, newtype.signed, newtype.fits


class TaintedType(Type):
    """`Tainted[u64]`: an integer that a guest gave, of which no upper bound is known."""

    def __init__(self, inner):
        self.inner, self.name = inner, f"Tainted[{inner}]"
        self.bits, self.signed, self.fits = inner.bits, inner.signed, inner.fits

    def untainted(self):
        return self.inner


class TaintedPromise(Type):
    """`Tainted[T]`, where `T` is a type variable, or named by a string and not known yet."""

    def __init__(self, inner):
        self.inner, self.name = inner, f"Tainted[{inner}]"

    def untainted(self):
        return self.inner


class EnumMember(TypedInt):
    """One value of an `@enum` class."""

    def __new__(cls, value, type_, name):
        self = super().__new__(cls, value, type_)
        self.name = name
        return self

    def __repr__(self):
        return f"{self.type}.{self.name}"


class EnumType(Type):
    def __init__(self, name, base, module, values):
        self.name, self.base, self.module = name, base, module
        self.bits, self.signed = base.bits, base.signed
        self.fits = base.fits
        self.members = {key: EnumMember(base(value), self, key) for key, value in values.items()}

    def __getattr__(self, name):
        members = self.__dict__.get("members", {})
        if name in members:
            return members[name]
        raise AttributeError(f"enum {self.__dict__.get('name')} has no member {name}")

    def __call__(self, value):
        for member in self.members.values():
            if member == value:
                return member
        raise ValueError(f"{value} is no member of {self}")

    def __iter__(self):
        return iter(self.members.values())


class SimpleType(Type):
    def __init__(self, name):
        self.name = name


class PtrType(Type):
    def __init__(self, target, nullable=False):
        self.target, self.nullable = target, nullable

    @property
    def name(self):
        return f"Ptr[{self.target}]" + (" | None" if self.nullable else "")

    def __or__(self, other):
        return intern(PtrType, self.target, True) if other is None else Type.__or__(self, other)

    __ror__ = __or__

    def __call__(self, address):
        return TypedInt(int(address), self)


class FnType(Type):
    def __init__(self, params, result, nullable=False):
        self.params, self.result, self.nullable = params, result, nullable

    @property
    def name(self):
        params = ", ".join(map(str, self.params))
        return f"Fn[[{params}], {self.result}]" + (" | None" if self.nullable else "")

    def __or__(self, other):
        if other is not None:
            return Type.__or__(self, other)
        return intern(FnType, self.params, self.result, True)

    __ror__ = __or__


class ArrayType(Type):
    def __init__(self, element, count):
        self.element, self.count = element, count

    @property
    def name(self):
        return f"Array[{self.element}, {self.count}]"

    def tainted(self):
        return intern(ArrayType, self.element.tainted(), self.count)

    def untainted(self):
        return intern(ArrayType, self.element.untainted(), self.count)


class SliceType(Type):
    def __init__(self, element):
        self.element = element

    @property
    def name(self):
        return f"Slice[{self.element}]"


class GuestType(Type):
    def __init__(self, target):
        self.target = target

    @property
    def name(self):
        return f"Guest[{self.target}]"

    def __call__(self, address):
        return TypedInt(int(address), self)


class VolatileType(Type):
    def __init__(self, element):
        self.element = element

    @property
    def name(self):
        return f"Volatile[{self.element}]"

    def tainted(self):
        return intern(VolatileType, self.element.tainted())

    def untainted(self):
        return intern(VolatileType, self.element.untainted())


class TupleType(Type):
    def __init__(self, items):
        self.items = items

    @property
    def name(self):
        return f"tuple[{', '.join(map(str, self.items))}]"


class ResultType(Type):
    """`Result[T]`: a value, or a negative error code.

    It is held as its `form`: a pointer, whose highest 4095 addresses are the codes; an i64, where
    every value is positive in it, or there is none; else a pair, with 0 beside a value.
    """

    MAX_ERROR = 4095

    def __init__(self, value):
        if isinstance(value, ResultType) or getattr(value, "signed", False):
            raise TypeError(f"`Result[{value}]`: a value could not be told from an error code")
        self.value = value

    @property
    def name(self):
        return f"Result[{self.value}]"

    @property
    def form(self):
        if is_pointer(self.value):
            return self.value | None
        if self.value in (NONE, BOOL) or getattr(self.value, "bits", 64) < 64:
            return i64
        return intern(TupleType, (i64, self.value))


class TypeVar(Type):
    """A type parameter: `T = TypeVar("T")`."""

    def __init__(self, name):
        self.name = name

    def tainted(self):
        return intern(TaintedPromise, self)


class TypeArgument(Type):
    """`type[T]` as a parameter: the argument is a type, gone at run time."""

    def __init__(self, variable):
        self.variable = variable

    @property
    def name(self):
        return f"type[{self.variable}]"


class LazyType(Type):
    """A type named by a string, looked up when all modules are imported."""

    def __init__(self, text, scope):
        self.name, self.scope = text, scope.names

    def tainted(self):
        return intern(TaintedPromise, self)


NONE = SimpleType("None")
NEVER = SimpleType("Never")
BOOL = SimpleType("bool")
UNTYPED = SimpleType("integer literal")
NULL = SimpleType("None literal")
META = SimpleType("build-time value")

u8, u16, u32, u64 = (IntType(bits, False) for bits in (8, 16, 32, 64))
i8, i16, i32, i64 = (IntType(bits, True) for bits in (8, 16, 32, 64))

_interned: dict = {}


def intern(cls, *key):
    """Return the one type of this class and these arguments."""
    found = _interned.get((cls, *key))
    if found is None:
        found = _interned[cls, *key] = cls(*key)
    return found


def bare(type_):
    """The integer type below `Tainted`, or the type itself."""
    return type_.inner if isinstance(type_, TaintedType) else type_


def is_uncertain(type_):
    """Whether a test narrows values of a type: they may be None, or too large."""
    return is_optional(type_) or isinstance(type_, TaintedType)


def certain(type_):
    """What a type is narrowed to."""
    return bare(non_null(type_))


def is_optional(type_):
    """Whether None is among the values of a type."""
    return isinstance(type_, OptionalType) or is_pointer(type_) and type_.nullable


def non_null(type_):
    """The type without None, or the type itself where None is none of its values."""
    if isinstance(type_, PtrType):
        return intern(PtrType, type_.target, False)
    if isinstance(type_, FnType):
        return intern(FnType, type_.params, type_.result, False)
    return type_.newtype if isinstance(type_, OptionalType) else type_


def optional(type_):
    """The type with None, or None where it cannot have one."""
    plain = non_null(type_)
    can = is_pointer(plain) or isinstance(plain, Newtype) and plain.none is not None
    return plain | None if can else None


def is_pointer(type_):
    return isinstance(type_, (PtrType, FnType))


def is_integer(type_):
    """Plain integers and newtypes: what arithmetic and indexing take."""
    return isinstance(type_, (IntType, Newtype))


def plain(type_):
    """The integer type below a newtype or enum."""
    return getattr(type_, "base", type_)


PythonFunction = python_types.FunctionType
