"""Lowering of places, and the frame of lowering expressions.

`value` computes an expression into a register; for a struct or array it returns the address of
memory that holds it, and the caller must copy. `place` gives the memory that an expression denotes.
"""

from dataclasses import dataclass

from kpy.check import typed
from kpy.check.table import Table
from kpy.front.structs import size_of
from kpy.front.types import SliceType, is_pointer, u64
from kpy.lower.function import load, offset, store, to_u64
from kpy.lower.panics import UNSIGNED, mark
from kpy.lower.switch_points import LOAD, before_access, is_shared
from kpy.lower.types import SLICE, alignment, is_aggregate

RULES = Table()
rule = RULES.of


@dataclass
class Place:
    address: str
    volatile: bool = False
    align: int | None = None  # of a packed field


def value(f, expr):
    """Compute an expression."""
    f.at(expr.at)
    return RULES[type(expr)](f, expr)


def place(f, expr):
    """The memory that an expression denotes; a computed struct gets some."""
    match expr:
        case typed.Local():
            return Place(f.slot(expr.var))
        case typed.StaticRef():
            return Place(f.unit.static(expr.static))
        case typed.Deref():
            return Place(value(f, expr.pointer), expr.volatile)
        case typed.FieldOf():
            return _field(f, expr)
        case typed.ElementOf():
            return _element(f, expr)
    return Place(value(f, expr))


def _field(f, expr):
    base = place(f, expr.base)
    address = offset(f, base.address, expr.field.offset)
    align = 1 if expr.field.packed or base.align == 1 else None
    return Place(address, expr.field.volatile or base.volatile, align)


def array_parts(f, base):
    """The address and length (as operand) of an array place or slice."""
    if isinstance(base.type, SliceType):
        whole = value(f, base)
        return (
            f.emit(f"extractvalue {SLICE} {whole}, 0"),
            f.emit(f"extractvalue {SLICE} {whole}, 1"),
            None,
        )
    found = place(f, base)
    return found.address, str(base.type.count), found


def element_address(f, element, address, index):
    """The address of an element."""
    return f.emit(f"getelementptr inbounds [{size_of(element)} x i8], ptr {address}, i64 {index}")


def _element(f, expr):
    address, length, base = array_parts(f, expr.base)
    index = to_u64(f, value(f, expr.index), expr.index.type)
    f.at(expr.at)
    if expr.checked:
        outside = f.emit(f"icmp uge i64 {index}, {length}")
        text = f"index {mark(expr.index.type)} of {UNSIGNED} elements"
        f.check(outside, expr.at, text, (index, u64), (length, u64))
    element = expr.base.type.element
    volatile = expr.volatile or bool(base and base.volatile)
    return Place(
        element_address(f, element, address, index), volatile, base.align if base else None
    )


def read(f, expr, found):
    """Read the value at a place; a pointer that should not be null is checked."""
    if is_shared(expr):
        before_access(f, found.address, LOAD, expr.type)
    if is_aggregate(expr.type):
        return found.address
    register = load(f, expr.type, found.address, found.volatile, found.align)
    if is_pointer(expr.type) and not expr.type.nullable and not isinstance(expr, typed.Local):
        f.check(f.emit(f"icmp eq ptr {register}, null"), expr.at, "null pointer in memory")
    return register


@rule(typed.Local, typed.StaticRef, typed.Deref, typed.FieldOf, typed.ElementOf)
def _read_place(f, expr):
    found = place(f, expr)
    f.at(expr.at)
    return read(f, expr, found)


def put(f, type_, source, destination):
    """Store what `value` returned to a place."""
    if not is_aggregate(type_):
        store(f, type_, source, destination.address, destination.volatile, destination.align)
    elif source != destination.address:
        copy_memory(f, type_, destination.address, source, destination.volatile)


def copy_memory(f, type_, destination, source, volatile=False):
    align = alignment(type_)
    f.unit.declare("llvm.memcpy", "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    f.line(
        f"call void @llvm.memcpy.p0.p0.i64(ptr align {align} {destination}, "
        f"ptr align {align} {source}, i64 {size_of(type_)}, i1 {str(volatile).lower()})"
    )


def clear_memory(f, type_, address):
    f.unit.declare("llvm.memset", "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
    f.line(
        f"call void @llvm.memset.p0.i64(ptr align {alignment(type_)} {address}, i8 0, "
        f"i64 {size_of(type_)}, i1 false)"
    )
