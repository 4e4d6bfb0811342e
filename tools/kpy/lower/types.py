"""How kernel Python types look to LLVM.

Structs and arrays are bytes in memory (`[N x i8]`), reached by computed offsets; everything else is
a value in registers. A bool is `i1` in registers and a byte in memory.
"""

from kpy.front.structs import StructType, align_of, size_of
from kpy.front.types import (
    BOOL,
    NEVER,
    NONE,
    ArrayType,
    EnumType,
    FnType,
    GuestType,
    IntType,
    Newtype,
    OptionalType,
    PtrType,
    ResultType,
    SliceType,
    TaintedType,
    TupleType,
    VolatileType,
)

SLICE = "{ ptr, i64 }"
NUMBERS = (IntType, Newtype, OptionalType, TaintedType, EnumType)


def is_aggregate(type_):
    """Whether values of the type live in memory only."""
    return isinstance(type_, (StructType, ArrayType))


def register_type(type_):
    """The LLVM type of a value."""
    if isinstance(type_, NUMBERS):
        return f"i{type_.bits}"
    if isinstance(type_, (PtrType, FnType)):
        return "ptr"
    if type_ is BOOL:
        return "i1"
    if isinstance(type_, GuestType):
        return "i64"
    if isinstance(type_, SliceType):
        return SLICE
    if isinstance(type_, TupleType):
        return "{ " + ", ".join(register_type(item) for item in type_.items) + " }"
    if isinstance(type_, ResultType):
        return register_type(type_.form)
    if isinstance(type_, VolatileType):
        return register_type(type_.element)
    if is_aggregate(type_):
        return f"[{size_of(type_)} x i8]"
    if type_ in (NONE, NEVER):
        return "void"
    raise TypeError(f"no LLVM type for `{type_}`")


def memory_type(type_):
    return "i8" if type_ is BOOL else register_type(type_)


def alignment(type_):
    if isinstance(type_, (ResultType, TupleType)):
        return 8
    return align_of(type_)


def extension(type_):
    """The attribute that makes a small argument or result fill its register, as C does."""
    if type_ is BOOL:
        return "zeroext "
    if isinstance(type_, NUMBERS) and type_.bits < 32:
        return "signext " if type_.signed else "zeroext "
    return ""


def quote(symbol):
    return f'@"{symbol}"'


def escape(data):
    """Bytes as the inside of an LLVM string."""
    return "".join(chr(b) if 32 <= b < 127 and b not in (34, 92) else f"\\{b:02X}" for b in data)


def signature(instance):
    """The LLVM result type, and the parameter types with their attributes."""
    result, params = instance.result, []
    if is_aggregate(result):
        params.append(f"ptr sret({register_type(result)}) align {alignment(result)}")
    for _, type_ in instance.params:
        params.append(parameter(type_))
    shown = "void" if is_aggregate(result) else extension(result) + register_type(result)
    return shown, params


def parameter(type_):
    """The LLVM type of a parameter, with attributes; a struct is passed by address."""
    if is_aggregate(type_):
        return "ptr noundef"
    if isinstance(type_, PtrType) and not type_.nullable:
        return "ptr noundef nonnull"
    return f"{register_type(type_)} {extension(type_)}".rstrip()
