"""Kernel Python: a small, typed, statically compiled subset of Python. LANGUAGE.md defines it.

This package exports the names that programs use. The compiler is in the modules beside this one; a
program goes through them in this order: modules and source (import, syntax trees), program
(functions and their instances), checker and check_* (typed tree), verify, lower_* (LLVM text),
backend (objects), link.
"""

from typing import Never

from kpy.check.builtins import TABLE as _builtins
from kpy.front.annotations import Array, Fn, Guest, Ptr, Result, Slice, Tainted, Volatile, newtype
from kpy.front.decorators import (
    asm,
    build_time,
    cold,
    export,
    extern,
    formatter,
    gives_back,
    inline,
    noinline,
    stands_before,
    static,
)
from kpy.front.forward import install as _install
from kpy.front.structs import enum, struct, union
from kpy.front.types import TypeVar, i8, i16, i32, i64, u8, u16, u32, u64

usize = u64
len, max, min, range = len, max, min, range  # they may be imported from here too
globals().update(_builtins)
_install()

__all__ = [  # fmt: skip
    "Array",
    "Fn",
    "Guest",
    "Never",
    "Ptr",
    "Result",
    "Slice",
    "Tainted",
    "TypeVar",
    "Volatile",
    "alignof",
    "asm",
    "atomic_add",
    "atomic_and",
    "atomic_and_",
    "atomic_cas",
    "atomic_load",
    "atomic_or",
    "atomic_or_",
    "atomic_store",
    "atomic_sub",
    "atomic_xchg",
    "atomic_xor",
    "barrier",
    "bit",
    "bswap",
    "build_time",
    "cast",
    "checked_add",
    "checked_mul",
    "checked_sub",
    "clz",
    "cold",
    "container_of",
    "copy",
    "copy_slice",
    "ctz",
    "enum",
    "export",
    "extern",
    "fence",
    "fill",
    "formatter",
    "gives_back",
    "i16",
    "i32",
    "i64",
    "i8",
    "inline",
    "len",
    "load",
    "max",
    "min",
    "newtype",
    "noinline",
    "offsetof",
    "ok",
    "panic",
    "popcount",
    "range",
    "ref",
    "require",
    "saturating_sub",
    "sizeof",
    "stands_before",
    "static",
    "store",
    "struct",
    "truncate",
    "trusted",
    "u16",
    "u32",
    "u64",
    "u8",
    "uninitialized",
    "union",
    "unreachable",
    "usize",
    "volatile_load",
    "volatile_store",
    "wrapping_add",
    "wrapping_mul",
    "wrapping_sub",
    "zero",
]
