"""The functions of the language: known to the compiler, most of them meaningless to CPython."""

from kpy.front.later import soon
from kpy.front.structs import align_of, offset_of, size_of
from kpy.front.types import TypedInt


class Builtin:
    """A name such as `ref`; `at_build_time`, if any, is its meaning at module level.

    One that changes memory, or lets others change it, ends what is known of memory.
    """

    changes_memory = False

    def __init__(self, name, at_build_time=None):
        self.name, self.at_build_time = name, at_build_time

    def __call__(self, *arguments):
        if self.at_build_time is None:
            raise TypeError(f"`{self.name}` works in compiled functions only")
        return self.at_build_time(*arguments)


def _truncate(type_, value):
    value &= (1 << type_.bits) - 1
    return TypedInt(
        value - (1 << type_.bits) if type_.signed and value > type_.high else value, type_
    )


MEMORY = ("ref", "load", "store", "volatile_load", "volatile_store", "zero", "copy", "fill")
ATOMIC = ("load", "store", "add", "sub", "or", "and", "xor", "xchg", "cas")
CONTROL = ("barrier", "fence", "require", "ok", "panic", "unreachable")
POINTERS = ("container_of", "cast", "uninitialized", "copy_slice", "trusted")
NUMBERS = ("wrapping_add", "wrapping_sub", "wrapping_mul", "saturating_sub")
CHECKED = ("checked_add", "checked_sub", "checked_mul", "popcount", "clz", "ctz", "bswap")
NAMES = [*MEMORY, *(f"atomic_{name}" for name in ATOMIC), *CONTROL, *POINTERS, *NUMBERS, *CHECKED]

CHANGES = ("store", "volatile_store", "zero", "copy", "fill", "copy_slice", "barrier", "fence")

TABLE = {name: Builtin(name) for name in NAMES}
for _name in (*CHANGES, *(name for name in NAMES if name.startswith("atomic_"))):
    TABLE[_name].changes_memory = True
TABLE["atomic_or_"], TABLE["atomic_and_"] = TABLE["atomic_or"], TABLE["atomic_and"]
TABLE["sizeof"] = Builtin("sizeof", soon(size_of))
TABLE["alignof"] = Builtin("alignof", soon(align_of))
TABLE["offsetof"] = Builtin("offsetof", soon(offset_of))
TABLE["bit"] = Builtin("bit", lambda number: 1 << number)
TABLE["truncate"] = Builtin("truncate", _truncate)
