"""Write xen_codecs.py: the ABI for dom0's toolstack, with nothing but the standard library."""

from tools.abi.emit_kpy import field_name, literal
from tools.abi.model import Abi, Array, Pointer, Record, Scalar

HEADER = '''"""The public Xen ABI as ctypes classes and ints. Made by tools/abi from kernel/abi/*.h.

A pointer is a c_uint64: give it `ctypes.addressof(buffer)`. A struct or union without a name in C
is called after the record and the field that hold it: `xen_domctl.u` is a `xen_domctl_u`.
"""

import ctypes
from ctypes import Structure, Union, c_char, sizeof

'''


def type_text(type_) -> str:
    if isinstance(type_, Scalar):
        return "c_char" if type_.char else f"ctypes.c_{'' if type_.signed else 'u'}int{type_.bits}"
    if isinstance(type_, Pointer):
        return "ctypes.c_uint64"
    if isinstance(type_, Array):
        return f"{type_text(type_.element)} * {type_.count}"
    return type_.name


def emit_record(record: Record) -> str:
    base = "Union" if record.is_union else "Structure"
    packed = "    _pack_ = 1\n" if record.packed else ""
    fields = "".join(
        f'        ("{field_name(f.name)}", {type_text(f.type)}),\n' for f in record.fields
    )
    return (
        f"\n\nclass {record.name}({base}):\n{packed}    _fields_ = [\n{fields}    ]\n\n\n"
        f"assert sizeof({record.name}) == {record.size}\n"
    )


def emit(abi: Abi) -> str:
    parts, where = [HEADER], None
    for constant in abi.constants:
        if constant.where != where:
            where = constant.where
            parts.append(f"\n# {where}\n")
        parts.append(f"{constant.name} = {literal(constant.value)}\n")
    parts += [emit_record(record) for record in abi.records]
    return "".join(parts)
