"""Write abi.py: the ABI for kernel Python."""

import keyword

from tools.abi.model import Abi, Array, Pointer, Record, Scalar

HEADER = '''"""The public Xen ABI in kernel Python. Made by tools/abi from kernel/abi/*.h.

Names, values and layouts are C's. A guest handle is `Guest[T]`, or u64 where C says void. A struct
or union without a name in C is called after the record and the field that hold it:
`mmuext_op.arg1` is a `mmuext_op_arg1`.
"""

from kpy import Array, Guest, i8, i16, i32, i64, sizeof, struct, u8, u16, u32, u64, union
'''


def field_name(name: str) -> str:
    """A keyword takes an underscore, `in_`; of two leading ones, which Python mangles, one goes."""
    if name.startswith("__"):
        return name[1:]
    return name + "_" if keyword.iskeyword(name) else name


def type_text(type_) -> str:
    if isinstance(type_, Scalar):
        return type_.alias or f"{'i' if type_.signed else 'u'}{type_.bits}"
    if isinstance(type_, Pointer):
        return f"Guest[{type_text(type_.target)}]" if type_.target else "u64"
    if isinstance(type_, Array):
        return f"Array[{type_text(type_.element)}, {type_.count}]"
    return type_.name


def emit_record(record: Record) -> str:
    decorator = (
        "@union" if record.is_union else "@struct(packed=True)" if record.packed else "@struct"
    )
    fields = "".join(f"    {field_name(f.name)}: {type_text(f.type)}\n" for f in record.fields)
    check = f"assert sizeof({record.name}) == {record.size}"
    return f"\n\n{decorator}\nclass {record.name}:\n{fields}\n\n{check}\n"


def literal(value: int | str) -> str:
    return repr(value) if isinstance(value, str) or -10 < value < 65536 else hex(value)


def emit(abi: Abi) -> str:
    """The module's text: typedefs, constants by header, then records in C's order."""
    parts = [HEADER, "\n"]
    for name, type_, _ in abi.typedefs:
        plain = Scalar(type_.bits, type_.signed) if isinstance(type_, Scalar) else type_
        parts.append(f"{name} = {type_text(plain)}\n")
    where = None
    for constant in abi.constants:
        if constant.where != where:
            where = constant.where
            parts.append(f"\n# {where}\n")
        parts.append(f"{constant.name} = {literal(constant.value)}\n")
        if where == "errno.h":
            parts.append(f"{constant.name.removeprefix('XEN_')} = {constant.name}\n")
    parts += [emit_record(record) for record in abi.records]
    return "".join(parts)
