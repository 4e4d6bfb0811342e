"""Lowering of what has parts: tuples, structs, arrays, slices."""

from kpy.check import typed
from kpy.front.structs import size_of
from kpy.front.types import u64
from kpy.lower.function import offset, to_u64
from kpy.lower.panics import UNSIGNED, mark
from kpy.lower.place import Place, array_parts, clear_memory, element_address, put, rule, value
from kpy.lower.types import SLICE, alignment, is_aggregate, memory_type, register_type


@rule(typed.MakeTuple)
def _tuple(f, expr):
    registers = []
    for item in expr.items:
        register = value(f, item)
        if is_aggregate(item.type):
            register = f.emit(
                f"load {memory_type(item.type)}, ptr {register}, align {alignment(item.type)}"
            )
        registers.append(register)
    f.at(expr.at)
    whole, type_ = "poison", register_type(expr.type)
    for i, (item, register) in enumerate(zip(expr.items, registers, strict=True)):
        whole = f.emit(f"insertvalue {type_} {whole}, {register_type(item.type)} {register}, {i}")
    return whole


@rule(typed.ItemOf)
def _item(f, expr):
    whole = value(f, expr.tuple)
    register = f.emit(f"extractvalue {register_type(expr.tuple.type)} {whole}, {expr.index}")
    if not is_aggregate(expr.type):
        return register
    memory = f.stack(expr.type)
    f.line(f"store {memory_type(expr.type)} {register}, ptr {memory}, align {alignment(expr.type)}")
    return memory


@rule(typed.MakeStruct)
def _struct(f, expr):
    memory = f.stack(expr.type)
    clear_memory(f, expr.type, memory)
    for name, item in expr.fields.items():
        field = expr.type.fields[name]
        register = value(f, item)
        f.at(expr.at)
        target = Place(offset(f, memory, field.offset), False, 1 if field.packed else None)
        put(f, field.type, register, target)
    return memory


@rule(typed.MakeArray)
def _array(f, expr):
    memory, element = f.stack(expr.type), expr.type.element
    for i, item in enumerate(expr.items):
        register = value(f, item)
        put(f, item.type, register, Place(offset(f, memory, i * size_of(element))))
    return memory


@rule(typed.Zeroed)
def _zeroed(f, expr):
    memory = f.stack(expr.type)
    clear_memory(f, expr.type, memory)
    return memory


@rule(typed.Uninitialized)
def _uninitialized(f, expr):
    return f.stack(expr.type) if is_aggregate(expr.type) else "undef"


def make_slice(f, pointer, length):
    whole = f.emit(f"insertvalue {SLICE} poison, ptr {pointer}, 0")
    return f.emit(f"insertvalue {SLICE} {whole}, i64 {length}, 1")


@rule(typed.MakeSlice)
def _make_slice(f, expr):
    pointer = value(f, expr.pointer)
    return make_slice(f, pointer, value(f, expr.length))


@rule(typed.SliceOf)
def _slice_of(f, expr):
    address, length, _ = array_parts(f, expr.base)
    low = to_u64(f, value(f, expr.low), expr.low.type) if expr.low else "0"
    high = to_u64(f, value(f, expr.high), expr.high.type) if expr.high else length
    f.at(expr.at)
    if expr.high:
        text = f"a slice up to {mark(expr.high.type)} of {UNSIGNED} elements"
        beyond = f.emit(f"icmp ugt i64 {high}, {length}")
        f.check(beyond, expr.at, text, (high, u64), (length, u64))
    if expr.low:
        text = f"a slice from {mark(expr.low.type)} to {UNSIGNED}"
        beyond = f.emit(f"icmp ugt i64 {low}, {high}")
        f.check(beyond, expr.at, text, (low, u64), (high, u64))
        address = element_address(f, expr.base.type.element, address, low)
        high = f.emit(f"sub nuw i64 {high}, {low}")
    return make_slice(f, address, high)


@rule(typed.SlicePart)
def _slice_part(f, expr):
    whole = value(f, expr.slice)
    f.at(expr.at)
    if expr.part == "len":
        return f.emit(f"extractvalue {SLICE} {whole}, 1")
    pointer = f.emit(f"extractvalue {SLICE} {whole}, 0")
    f.check(f.emit(f"icmp eq ptr {pointer}, null"), expr.at, "the pointer of a null slice")
    return pointer


@rule(typed.EnumName)
def _enum_name(f, expr):
    register = value(f, expr.operand)
    return f.emit(
        f"call {SLICE} {f.unit.enum_names(expr.operand.type)}(i{expr.operand.type.bits} {register})"
    )
