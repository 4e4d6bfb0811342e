"""Lowering of expressions.

`value` computes an expression into a register; for a struct or array it returns the address of memory that holds it, and
the caller must copy. `place` gives the memory that an expression denotes.
"""

from dataclasses import dataclass

from kpy import typed
from kpy.lower_function import intrinsic, load, offset, resize, store, to_u64
from kpy.lower_types import (
    SLICE,
    alignment,
    extension,
    is_aggregate,
    memory_type,
    parameter,
    register_type,
)
from kpy.structs import size_of
from kpy.types import (
    BOOL,
    NEVER,
    NONE,
    EnumType,
    FnType,
    GuestType,
    PtrType,
    SliceType,
    is_pointer,
)

RULES = {}


def rule(kind):
    def register(function):
        RULES[kind] = function
        return function

    return register


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
        return f.emit(f"extractvalue {SLICE} {whole}, 0"), f.emit(f"extractvalue {SLICE} {whole}, 1"), None
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
        f.check(f.emit(f"icmp uge i64 {index}, {length}"), expr.at, "index out of range")
    element = expr.base.type.element
    volatile = expr.volatile or bool(base and base.volatile)
    return Place(element_address(f, element, address, index), volatile, base.align if base else None)


def read(f, expr, found):
    """Read the value at a place; a pointer that should not be null is checked."""
    if is_aggregate(expr.type):
        return found.address
    register = load(f, expr.type, found.address, found.volatile, found.align)
    if is_pointer(expr.type) and not expr.type.nullable and not isinstance(expr, typed.Local):
        f.check(f.emit(f"icmp eq ptr {register}, null"), expr.at, "null pointer in memory")
    return register


@rule(typed.Local)
@rule(typed.StaticRef)
@rule(typed.Deref)
@rule(typed.FieldOf)
@rule(typed.ElementOf)
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
        f"call void @llvm.memcpy.p0.p0.i64(ptr align {align} {destination}, ptr align {align} {source}, "
        f"i64 {size_of(type_)}, i1 {str(volatile).lower()})"
    )


def clear_memory(f, type_, address):
    f.unit.declare("llvm.memset", "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
    f.line(
        f"call void @llvm.memset.p0.i64(ptr align {alignment(type_)} {address}, i8 0, i64 {size_of(type_)}, i1 false)"
    )


@rule(typed.Const)
def _const(f, expr):
    if expr.type is BOOL:
        return "true" if expr.value else "false"
    if expr.value is None:
        return "null"
    if is_pointer(expr.type):
        return f"inttoptr (i64 {expr.value} to ptr)"
    return str(expr.value)


@rule(typed.Text)
def _text(f, expr):
    return f"{{ ptr {f.unit.text(expr.data)}, i64 {len(expr.data)} }}"


@rule(typed.FunctionRef)
def _function(f, expr):
    return f.unit.function(expr.instance)


@rule(typed.AddressOf)
def _address(f, expr):
    return place(f, expr.place).address


@rule(typed.Choose)
def _choose(f, expr):
    then, other, end = f.name("then"), f.name("else"), f.name("end")
    branch(f, expr.test, then, other)
    incoming = []
    for label, side in ((then, expr.then), (other, expr.other)):
        f.label(label)
        register = value(f, side)
        if not f.ended:
            incoming.append(f"[ {register}, %{f.current_block()} ]")
            f.jump(end)
    f.label(end)
    type_ = "ptr" if is_aggregate(expr.type) else register_type(expr.type)
    return f.emit(f"phi {type_} {', '.join(incoming)}") if incoming else "poison"


def branch(f, test, then, other):
    """Go to one of two blocks by a condition."""
    if isinstance(test, typed.Logic):
        for item in test.items[:-1]:
            onward = f.name("and" if test.op == "and" else "or")
            branch(f, item, *((onward, other) if test.op == "and" else (then, onward)))
            f.label(onward)
        branch(f, test.items[-1], then, other)
    elif isinstance(test, typed.Unary) and test.op == "not":
        branch(f, test.operand, other, then)
    else:
        condition = value(f, test)
        f.branch(condition, then, other)


@rule(typed.Logic)
def _logic(f, expr):
    then, other, end = f.name("true"), f.name("false"), f.name("end")
    branch(f, expr, then, other)
    f.label(then)
    f.jump(end)
    f.label(other)
    f.jump(end)
    f.label(end)
    return f.emit(f"phi i1 [ true, %{then} ], [ false, %{other} ]")


@rule(typed.Convert)
def _convert(f, expr):
    register = value(f, expr.operand)
    f.at(expr.at)
    have, want = expr.operand.type, expr.type
    if have is NEVER:
        return "poison"
    if expr.how in ("same", "nonnull"):
        return _reinterpret(f, expr, register, have, want)
    if have is BOOL:
        return f.emit(f"zext i1 {register} to i{want.bits}")
    if expr.how == "checked":
        _check_fits(f, expr, register, have, want)
    register = resize(f, register, have, want)
    if isinstance(want, EnumType):
        _check_member(f, expr, register, want)
    return register


def _reinterpret(f, expr, register, have, want):
    if expr.how == "nonnull":
        f.check(f.emit(f"icmp eq i64 {register}, 0"), expr.at, f"a null `{want}`")
    one, two = register_type(have), register_type(want)
    if one == two:
        return register
    return f.emit(f"{'inttoptr' if two == 'ptr' else 'ptrtoint'} {one} {register} to {two}")


def _check_fits(f, expr, register, have, want):
    """Panic when the value does not fit: an unsigned comparison sees a negative number as a huge one."""
    low, high = -(1 << have.bits - 1) if have.signed else 0, (1 << have.bits - have.signed) - 1
    if want.fits(low) and want.fits(high):
        return
    if want.signed and have.signed:
        cut = f.emit(f"trunc i{have.bits} {register} to i{want.bits}")
        back = f.emit(f"sext i{want.bits} {cut} to i{have.bits}")
        bad = f.emit(f"icmp ne i{have.bits} {register}, {back}")
    else:
        limit = min(high, (1 << want.bits - want.signed) - 1)
        bad = f.emit(f"icmp ugt i{have.bits} {register}, {limit}")
    f.check(bad, expr.at, f"value does not fit in `{want}`")


def _check_member(f, expr, register, want):
    values = sorted(int(member) for member in want)
    if values == list(range(len(values))):
        bad = f.emit(f"icmp uge i{want.bits} {register}, {len(values)}") if len(values) < 1 << want.bits else "false"
    else:
        tests = [f.emit(f"icmp ne i{want.bits} {register}, {v}") for v in values]
        bad = tests[0]
        for test in tests[1:]:
            bad = f.emit(f"and i1 {bad}, {test}")
    f.check(bad, expr.at, f"value is no `{want}`")


@rule(typed.Call)
def _call(f, expr):
    arguments = [value(f, argument) for argument in expr.arguments]
    f.at(expr.at)
    types = [type_ for _, type_ in expr.instance.params]
    return _invoke(f, expr.type, f.unit.function(expr.instance), types, arguments)


@rule(typed.CallPointer)
def _call_pointer(f, expr):
    pointer = value(f, expr.pointer)
    arguments = [value(f, argument) for argument in expr.arguments]
    f.at(expr.at)
    return _invoke(f, expr.type, pointer, expr.pointer.type.params, arguments)


def _invoke(f, result, callee, types, arguments):
    shown = [f"{parameter(type_)} {register}" for type_, register in zip(types, arguments, strict=True)]
    returned = "void" if is_aggregate(result) else extension(result) + register_type(result)
    if is_aggregate(result):
        memory = f.stack(result)
        shown.insert(0, f"ptr sret({register_type(result)}) align {alignment(result)} {memory}")
        f.line(f"call void {callee}({', '.join(shown)})")
        return memory
    call = f"call {returned} {callee}({', '.join(shown)})"
    if result in (NONE, NEVER):
        f.line(call)
        if result is NEVER:
            f.end("unreachable")
        return "poison"
    return f.emit(call)


@rule(typed.MakeTuple)
def _tuple(f, expr):
    registers = []
    for item in expr.items:
        register = value(f, item)
        if is_aggregate(item.type):
            register = f.emit(f"load {memory_type(item.type)}, ptr {register}, align {alignment(item.type)}")
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
        f.check(f.emit(f"icmp ugt i64 {high}, {length}"), expr.at, "slice out of range")
    if expr.low:
        f.check(f.emit(f"icmp ugt i64 {low}, {high}"), expr.at, "slice out of range")
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
    return f.emit(f"call {SLICE} {f.unit.enum_names(expr.operand.type)}(i{expr.operand.type.bits} {register})")


