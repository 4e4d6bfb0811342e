"""Generic functions: binding type variables by matching parameter types with argument types."""

from kpy.front.types import (
    ArrayType,
    FnType,
    GuestType,
    PtrType,
    ResultType,
    SliceType,
    TaintedPromise,
    TupleType,
    TypeVar,
    VolatileType,
)


def match(param, argument, bindings):
    """Bind the type variables of `param` to make it `argument`; return whether that worked."""
    if isinstance(param, TypeVar):
        return bindings.setdefault(param, argument) == argument
    if isinstance(param, PtrType) and isinstance(argument, PtrType):
        fits = param.nullable or not argument.nullable
        return fits and match(param.target, argument.target, bindings)
    if isinstance(param, TaintedPromise):
        inner = argument.untainted()
        return inner is not argument and match(param.inner, inner, bindings)
    if isinstance(param, GuestType) and isinstance(argument, GuestType):
        return _match_guest(param.target, argument.target, bindings)
    if type(param) is not type(argument):
        return False
    if isinstance(param, (SliceType, VolatileType)):
        return match(param.element, argument.element, bindings)
    if isinstance(param, ResultType):
        return match(param.value, argument.value, bindings)
    if isinstance(param, ArrayType):
        counts = (
            match(param.count, argument.count, bindings)
            if isinstance(param.count, TypeVar)
            else (param.count == argument.count)
        )
        return counts and match(param.element, argument.element, bindings)
    if isinstance(param, (TupleType, FnType)):
        return _match_all(_parts(param), _parts(argument), bindings)
    return param is argument


def _match_guest(param, argument, bindings):
    """Guest memory holds an `S` whether or not the core's copy of it is tainted."""
    if isinstance(param, TypeVar) and bindings.get(param, argument).untainted() is argument:
        bindings.setdefault(param, argument)
        return True
    return match(param, argument, bindings)


def _parts(type_):
    return type_.items if isinstance(type_, TupleType) else (*type_.params, type_.result)


def _match_all(params, arguments, bindings):
    if len(params) != len(arguments):
        return False
    return all(match(one, two, bindings) for one, two in zip(params, arguments, strict=True))
