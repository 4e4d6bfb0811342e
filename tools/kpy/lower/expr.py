"""Lowering of constants, calls, conversions and choices."""

from kpy.check import typed
from kpy.front.types import BOOL, NEVER, NONE, EnumType, is_pointer
from kpy.lower.function import resize
from kpy.lower.panics import mark
from kpy.lower.place import place, rule, value
from kpy.lower.types import alignment, extension, is_aggregate, parameter, register_type


@rule(typed.Const)
def _const(f, expr):
    if expr.type is BOOL:
        return "true" if expr.value else "false"
    if expr.value is None:
        return "null" if is_pointer(expr.type) else str(expr.type.none)
    if is_pointer(expr.type):
        return f"inttoptr (i64 {expr.value} to ptr)"
    return str(expr.value)


@rule(typed.Text)
def _text(f, expr):
    return f"{{ ptr {f.unit.text(expr.data)}, i64 {len(expr.data)} }}"


@rule(typed.FunctionRef)
def _function(f, expr):
    f.unit.addressed.append(expr.instance)
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
        f.fork(condition, then, other, test.at)


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
    """Panic when the value does not fit; unsigned comparison sees a negative number as huge."""
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
    f.check(bad, expr.at, f"{mark(have)} does not fit in `{want}`", (register, have))


def _check_member(f, expr, register, want):
    values = sorted(int(member) for member in want)
    if values == list(range(len(values))):
        bad = (
            f.emit(f"icmp uge i{want.bits} {register}, {len(values)}")
            if len(values) < 1 << want.bits
            else "false"
        )
    else:
        tests = [f.emit(f"icmp ne i{want.bits} {register}, {v}") for v in values]
        bad = tests[0]
        for test in tests[1:]:
            bad = f.emit(f"and i1 {bad}, {test}")
    f.check(bad, expr.at, f"{mark(want)} is no `{want}`", (register, want))


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
    shown = [
        f"{parameter(type_)} {register}" for type_, register in zip(types, arguments, strict=True)
    ]
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
