"""Lowering of the language's own functions: one entry each in `OPERATIONS`."""

from kpy.check import typed
from kpy.check.table import Table
from kpy.front.structs import size_of
from kpy.front.types import BOOL, VolatileType, is_pointer, u8, u64
from kpy.lower.function import intrinsic, load, resize, store
from kpy.lower.panics import UNSIGNED
from kpy.lower.place import clear_memory, copy_memory, element_address, place, put, rule, value
from kpy.lower.switch_points import ATOMIC, LOAD, STORE, before_access
from kpy.lower.types import SLICE, alignment, is_aggregate, memory_type, register_type

OPERATIONS = Table()
operation = OPERATIONS.of


@rule(typed.Operation)
def _operation(f, expr):
    return OPERATIONS[expr.name](f, expr, *expr.arguments)


@operation("store")
def _store(f, expr, target, new):
    found, register = place(f, target), value(f, new)
    before_access(f, found.address, STORE, target.type, expr.at)
    put(f, target.type, register, found)


def _atomic_type(type_):
    """Atomic memory holds a bool as a byte."""
    return memory_type(type_)


def _atomic_in(f, expr):
    register = value(f, expr)
    return f.emit(f"zext i1 {register} to i8") if expr.type is BOOL else register


def _atomic_out(f, type_, register):
    return f.emit(f"icmp ne i8 {register}, 0") if type_ is BOOL else register


@operation("atomic_load")
def _atomic_load(f, expr, pointer):
    address = value(f, pointer)
    before_access(f, address, LOAD, expr.type, expr.at)
    kind = _atomic_type(expr.type)
    register = f.emit(f"load atomic {kind}, ptr {address} seq_cst, align {alignment(expr.type)}")
    if is_pointer(expr.type) and not expr.type.nullable:
        f.check(f.emit(f"icmp eq ptr {register}, null"), expr.at, "null pointer in memory")
    return _atomic_out(f, expr.type, register)


@operation("atomic_store")
def _atomic_store(f, expr, pointer, new):
    address, register = value(f, pointer), _atomic_in(f, new)
    before_access(f, address, STORE, new.type, expr.at)
    kind = _atomic_type(new.type)
    f.line(f"store atomic {kind} {register}, ptr {address} seq_cst, align {alignment(new.type)}")


@operation("atomic_add", "atomic_sub", "atomic_or", "atomic_and", "atomic_xor", "atomic_xchg")
def _atomic_update(f, expr, pointer, operand):
    address, register = value(f, pointer), _atomic_in(f, operand)
    before_access(f, address, ATOMIC, expr.type, expr.at)
    verb = expr.name.removeprefix("atomic_")
    old = f.emit(f"atomicrmw {verb} ptr {address}, {_atomic_type(expr.type)} {register} seq_cst")
    return _atomic_out(f, expr.type, old)


@operation("atomic_cas")
def _atomic_cas(f, expr, pointer, expected, new):
    address, old, register = value(f, pointer), _atomic_in(f, expected), _atomic_in(f, new)
    before_access(f, address, ATOMIC, expr.type.items[0], expr.at)
    type_ = expr.type.items[0]
    kind = _atomic_type(type_)
    both = f.emit(f"cmpxchg ptr {address}, {kind} {old}, {kind} {register} seq_cst seq_cst")
    if type_ is not BOOL:
        return both
    seen = _atomic_out(f, type_, f.emit(f"extractvalue {{ i8, i1 }} {both}, 0"))
    done = f.emit(f"extractvalue {{ i8, i1 }} {both}, 1")
    pair = f.emit(f"insertvalue {{ i1, i1 }} poison, i1 {seen}, 0")
    return f.emit(f"insertvalue {{ i1, i1 }} {pair}, i1 {done}, 1")


@operation("barrier")
def _barrier(f, expr):
    f.line('call void asm sideeffect "", "~{memory}"()')


@operation("fence")
def _fence(f, expr):
    f.line('call void asm sideeffect inteldialect "mfence", "~{memory}"()')


def _pointed(pointer):
    target = pointer.type.target
    return target.element if isinstance(target, VolatileType) else target


@operation("zero")
def _zero(f, expr, pointer):
    address = value(f, pointer)
    before_access(f, address, STORE, _pointed(pointer), expr.at)
    clear_memory(f, _pointed(pointer), address)


@operation("copy")
def _copy(f, expr, destination, origin):
    to, from_ = value(f, destination), value(f, origin)
    before_access(f, from_, LOAD, _pointed(origin), expr.at)
    before_access(f, to, STORE, _pointed(destination), expr.at)
    copy_memory(f, _pointed(destination), to, from_)


@operation("copy_slice")
def _copy_slice(f, expr, destination, origin):
    one, two = value(f, destination), value(f, origin)
    parts = [f.emit(f"extractvalue {SLICE} {whole}, {i}") for whole in (one, two) for i in (0, 1)]
    differ = f.emit(f"icmp ne i64 {parts[1]}, {parts[3]}")
    lengths = [(parts[1], u64), (parts[3], u64)]
    f.check(differ, expr.at, f"slices of {UNSIGNED} and {UNSIGNED} elements", *lengths)
    size = f.emit(f"mul i64 {parts[1]}, {size_of(destination.type.element)}")
    f.unit.declare("llvm.memcpy", "declare void @llvm.memcpy.p0.p0.i64(ptr, ptr, i64, i1)")
    f.line(
        f"call void @llvm.memcpy.p0.p0.i64(ptr {parts[0]}, ptr {parts[2]}, i64 {size}, i1 false)"
    )


@operation("fill")
def _fill(f, expr, target, new):
    whole, register = value(f, target), value(f, new)
    pointer, length = (f.emit(f"extractvalue {SLICE} {whole}, {i}") for i in (0, 1))
    element = target.type.element
    if element is u8:
        f.unit.declare("llvm.memset", "declare void @llvm.memset.p0.i64(ptr, i8, i64, i1)")
        f.line(
            f"call void @llvm.memset.p0.i64(ptr {pointer}, i8 {register}, i64 {length}, i1 false)"
        )
        return

    def body(index):
        address = element_address(f, element, pointer, index)
        if is_aggregate(element):
            copy_memory(f, element, address, register)
        else:
            store(f, element, register, address)

    count_up(f, length, body)


def count_up(f, length, body):
    """Run `body(index)` for every index below `length`."""
    counter, head, inside, end = (
        f.stack(u64, "index"),
        f.name("head"),
        f.name("body"),
        f.name("end"),
    )
    store(f, u64, "0", counter)
    f.label(head)
    index = load(f, u64, counter)
    f.branch(f.emit(f"icmp ult i64 {index}, {length}"), inside, end)
    f.label(inside)
    body(index)
    store(f, u64, f.emit(f"add nuw i64 {index}, 1"), counter)
    f.jump(head)
    f.label(end)


@operation("container_of")
def _container_of(f, expr, pointer, distance):
    address = value(f, pointer)
    return f.emit(f"getelementptr inbounds i8, ptr {address}, i64 {-distance.value}")


@operation("panic")
def _panic(f, expr, text):
    f.panic(expr.at, text.data.decode())
    return "poison"


@operation("min", "max")
def _extreme(f, expr, left, right):
    kind = register_type(expr.type)
    name = f"llvm.{'s' if expr.type.signed else 'u'}{expr.name}.{kind}"
    return intrinsic(f, kind, name, [(kind, value(f, left)), (kind, value(f, right))])


@operation("popcount", "bswap")
def _bits(f, expr, number):
    kind = register_type(expr.type)
    register = value(f, number)
    if kind == "i8" and expr.name == "bswap":
        return register
    name = f"llvm.{'ctpop' if expr.name == 'popcount' else 'bswap'}.{kind}"
    return intrinsic(f, kind, name, [(kind, register)])


@operation("clz", "ctz")
def _count_zeros(f, expr, number):
    kind = register_type(expr.type)
    name = f"llvm.{'ctlz' if expr.name == 'clz' else 'cttz'}.{kind}"
    return intrinsic(f, kind, name, [(kind, value(f, number)), ("i1", "false")])


@operation("magnitude")
def _magnitude(f, expr, number):
    """The absolute value of any signed integer, as u64."""
    wide = resize(f, value(f, number), number.type, u64)
    return intrinsic(f, "i64", "llvm.abs.i64", [("i64", wide), ("i1", "false")])


@operation("sequence")
def _sequence(f, expr, *statements):
    from kpy.lower.stmt import statement

    for item in statements:
        statement(f, item)
