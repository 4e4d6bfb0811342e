"""Lowering of `Result`: making one, taking it apart, and leaving the function with its error.

How a result is held is said at `ResultType`.
"""

from kpy.check import typed
from kpy.front.types import BOOL, NONE, ResultType, TupleType, i64, is_pointer
from kpy.lower.expr import branch
from kpy.lower.function import resize
from kpy.lower.panics import SIGNED
from kpy.lower.place import Place, put, rule, value
from kpy.lower.types import alignment, is_aggregate, register_type

MAX_ERROR = ResultType.MAX_ERROR


@rule(typed.Attempt)
def _attempt(f, expr):
    from kpy.lower.stmt import statement

    put(f, expr.var.type, value(f, expr.operand), Place(f.slot(expr.var)))
    failed, onward = f.name("failed"), f.name("fine")
    branch(f, expr.failed, failed, onward)
    f.label(failed)
    statement(f, expr.leave)
    f.label(onward)
    return "poison" if expr.value is None else value(f, expr.value)


@rule(typed.Succeed)
def _succeed(f, expr):
    register, type_ = value(f, expr.operand), expr.operand.type
    f.at(expr.at)
    form = expr.type.form
    if is_pointer(form):
        return register
    if type_ is BOOL:
        return f.emit(f"zext i1 {register} to i64")
    if form is i64:
        return resize(f, register, type_, i64)
    if is_aggregate(type_):
        kind = register_type(type_)
        register = f.emit(f"load {kind}, ptr {register}, align {alignment(type_)}")
    return _pair(f, form, "0", register)


@rule(typed.Fail)
def _fail(f, expr):
    code = value(f, expr.operand)
    f.at(expr.at)
    if expr.checked:
        bad = f.emit(f"icmp ult i64 {code}, {-MAX_ERROR}")
        f.check(bad, expr.at, f"the error of a `Result` is no error code: {SIGNED}", (code, i64))
    form = expr.type.form
    if is_pointer(form):
        return f.emit(f"inttoptr i64 {code} to ptr")
    return code if form is i64 else _pair(f, form, code, "zeroinitializer")


def _pair(f, form, error, register):
    kind, item = register_type(form), register_type(form.items[1])
    whole = f.emit(f"insertvalue {kind} poison, i64 {error}, 0")
    return f.emit(f"insertvalue {kind} {whole}, {item} {register}, 1")


def _code(f, type_, register):
    """The word of a result that tells whether it failed."""
    if is_pointer(type_.form):
        return f.emit(f"ptrtoint ptr {register} to i64")
    if isinstance(type_.form, TupleType):
        return f.emit(f"extractvalue {register_type(type_)} {register}, 0")
    return register


def _failed(f, type_, code):
    if is_pointer(type_.form):
        return f.emit(f"icmp uge i64 {code}, {-MAX_ERROR}")
    return f.emit(f"icmp slt i64 {code}, 0")


@rule(typed.IsFailure)
def _is_failure(f, expr):
    type_ = expr.result.type
    register = value(f, expr.result)
    return _failed(f, type_, _code(f, type_, register))


@rule(typed.ErrorOf)
def _error(f, expr):
    type_ = expr.result.type
    register = value(f, expr.result)
    f.at(expr.at)
    code = _code(f, type_, register)
    if expr.known or type_.value is NONE or isinstance(type_.form, TupleType):
        return code
    return f.emit(f"select i1 {_failed(f, type_, code)}, i64 {code}, i64 0")


@rule(typed.ValueOf)
def _value(f, expr):
    type_ = expr.result.type
    register = value(f, expr.result)
    f.at(expr.at)
    if not expr.known:
        failed = _failed(f, type_, _code(f, type_, register))
        f.check(failed, expr.at, "a `Result` that failed has no value")
    if is_pointer(type_.form):
        return register
    if type_.form is i64:
        return f.emit(f"trunc i64 {register} to {register_type(expr.type)}")
    register = f.emit(f"extractvalue {register_type(type_)} {register}, 1")
    if not is_aggregate(expr.type):
        return register
    memory = f.stack(expr.type)
    f.line(
        f"store {register_type(expr.type)} {register}, ptr {memory}, align {alignment(expr.type)}"
    )
    return memory
