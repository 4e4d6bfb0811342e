"""Kernel Python: a small, typed, statically compiled subset of Python. LANGUAGE.md defines it.

This package exports the names that programs use. The compiler itself is in the modules below, in this order:
source -> program -> check_* -> verify -> lower_* -> objects -> link.
"""

from builtins import len, max, min, range
from typing import Never

from kpy.builtins import TABLE as _builtins
from kpy.decorators import (
    asm,
    build_time,
    cold,
    export,
    extern,
    formatter,
    inline,
    noinline,
    static,
)
from kpy.forward import install as _install
from kpy.structs import enum, struct, union
from kpy.types import (
    Array,
    Fn,
    Guest,
    Ptr,
    Slice,
    TypeVar,
    Volatile,
    i8,
    i16,
    i32,
    i64,
    newtype,
    u8,
    u16,
    u32,
    u64,
)

usize = u64
globals().update(_builtins)
_install()

__all__ = [
    *_builtins,
    *("len", "max", "min", "range"),
    *("Array", "Fn", "Guest", "Never", "Ptr", "Slice", "TypeVar", "Volatile"),
    *(
        "i8",
        "i16",
        "i32",
        "i64",
        "u8",
        "u16",
        "u32",
        "u64",
        "usize",
        "newtype",
        "enum",
        "struct",
        "union",
    ),
    *("asm", "build_time", "cold", "export", "extern", "formatter", "inline", "noinline", "static"),
]
