"""Checking of calls: functions, methods, function pointers, conversions and constructors."""

import ast
from collections.abc import Hashable

from kpy.check import typed
from kpy.check.builtin_calls import CHECKS, length
from kpy.check.builtin_math import PYTHON_BUILTINS
from kpy.check.builtins import Builtin
from kpy.check.convert import coerce, fit, settle, to_integer, truth, who_gave_it
from kpy.check.expr import expression, need_non_null, rule, value
from kpy.check.format_calls import format_call
from kpy.check.guest_calls import GUEST_METHODS
from kpy.check.refusals import of_builtin
from kpy.check.taint import bare
from kpy.front.annotations import as_type, resolve, rewrite
from kpy.front.decorators import traits_of
from kpy.front.generics import match
from kpy.front.program import collect_variables, is_function, unannotated
from kpy.front.structs import StructType, never_zero
from kpy.front.types import (
    BOOL,
    META,
    UNTYPED,
    ArrayType,
    EnumType,
    FnType,
    GuestType,
    IntType,
    Newtype,
    PtrType,
    SliceType,
    TaintedType,
    TypeArgument,
    intern,
    non_null,
    u64,
)


@rule(ast.Call)
def _call(cx, node, want):
    callee = expression(cx, node.func)
    if isinstance(callee, typed.Bound):
        return _method(cx, node, callee)
    if isinstance(callee, typed.Meta):
        return _meta_call(cx, node, callee.value, want)
    if isinstance(callee.type, FnType):
        return _pointer_call(cx, node, callee)
    return cx.error(node.func, f"`{cx.text(node.func)}` is a `{callee.type}`, it cannot be called")


def _meta_call(cx, node, callee, want):
    if is_function(callee):
        return call_function(cx, node, callee, spread(cx, node.args))
    if isinstance(callee, StructType):
        return _make_struct(cx, node, callee)
    no_keywords(cx, node)
    if isinstance(callee, Builtin):
        checked = CHECKS[callee.name](cx, node, want)
        if callee.changes_memory:
            cx.forget()
        return checked
    if isinstance(callee, Hashable) and callee in PYTHON_BUILTINS:
        return PYTHON_BUILTINS[callee](cx, node, want)
    if callee is bool:
        return truth(cx, expression(cx, _arguments(cx, node, 1)[0]))
    advice = of_builtin(callee)
    if advice is not None:
        cx.error(node.func, f"kernel Python has no `{callee.__name__}`", help=advice)
    try:
        type_ = cx.bind(resolve(as_type(callee, cx.scope)))
    except TypeError as error:
        return _not_callable(cx, node, callee, getattr(error, "help", ""))
    return _construct(cx, node, type_)


def _not_callable(cx, node, callee, advice):
    """Report a call of something that a module made, and that is no function to compile."""
    text = cx.text(node.func)
    _refuse_wrapped(cx, node, callee)
    if isinstance(node.func, ast.Attribute) and not advice:
        advice = "what a module made is changed at build time only; memory is a `static`"
    return cx.error(node.func, f"`{text}` cannot be called in a compiled function", help=advice)


def _refuse_wrapped(cx, node, callee):
    if hasattr(callee, "__wrapped__"):
        cx.error(
            node.func,
            f"a decorator put something else in the place of `{cx.text(node.func)}`",
            help="a decorator may register the function, and returns it as it is",
        )


def no_keywords(cx, node, params=()):
    if node.keywords:
        names = f", `{cx.text(node.func)}({', '.join(params)})`" if params else ""
        cx.error(
            node.keywords[0].value,
            "keyword arguments are for struct constructors only",
            help=f"pass the arguments in order{names}",
        )


def _arguments(cx, node, count):
    if len(node.args) != count:
        name, plural = cx.text(node.func), "" if count == 1 else "s"
        cx.error(node, f"`{name}` takes {count} argument{plural}, not {len(node.args)}")
    return node.args


def _construct(cx, node, type_):
    """`T(…)`: a conversion, or an empty array."""
    if isinstance(type_, ArrayType):
        _arguments(cx, node, 0)
        _zeroed(cx, node, type_)
        return typed.Zeroed(node, type_)
    if isinstance(type_, StructType):
        return _make_struct(cx, node, type_)
    if isinstance(type_, SliceType):
        first, second = _arguments(cx, node, 2)
        pointer = value(cx, first, intern(PtrType, type_.element, False))
        return typed.MakeSlice(node, type_, pointer, length(cx, second))
    (argument,) = _arguments(cx, node, 1)
    if isinstance(type_, (IntType, Newtype, EnumType)):
        return _convert_at(
            node, to_integer(cx, expression(cx, argument, _literal_type(type_)), type_)
        )
    if type_ is BOOL:
        return truth(cx, expression(cx, argument))
    if isinstance(type_, TaintedType):
        return coerce(cx, to_integer(cx, expression(cx, argument), type_.inner), type_)
    if isinstance(type_, GuestType):
        address = bare(expression(cx, argument, u64))
        return typed.Convert(node, type_, coerce(cx, address, u64), "same")
    if isinstance(type_, (PtrType, FnType)):
        how = "same" if type_.nullable else "nonnull"
        return typed.Convert(node, type_, value(cx, argument, u64), how)
    return cx.error(node, f"`{type_}` cannot be constructed")


def _literal_type(type_):
    return type_ if isinstance(type_, IntType) else None


def _zeroed(cx, node, type_, what=""):
    """Refuse zero bytes that would be a number where None was meant."""
    if part := never_zero(type_):
        cx.error(node, f"{what}`{type_}` must be given: zeroed, its `{part}` would not be None")


def _convert_at(node, expr):
    """Let an error in a conversion point at all of it."""
    if isinstance(expr, typed.Convert):
        expr.at = node
    return expr


def _make_struct(cx, node, struct):
    if node.args:
        cx.error(node.args[0], f"`{struct}` takes its fields by name, `{struct}(field=value)`")
    fields = {}
    for keyword in node.keywords:
        if keyword.arg not in struct.fields:
            cx.error(keyword.value, f"struct `{struct}` has no field `{keyword.arg}`")
        field = struct.fields[keyword.arg]
        fields[keyword.arg] = value(cx, keyword.value, field.type, f"field `{field.name}`")
    for field in () if struct.is_union else struct.fields.values():
        if field.name not in fields:
            _zeroed(cx, node, field.type, f"field `{field.name}` of ")
    if not fields:
        return typed.Zeroed(node, struct)
    return typed.MakeStruct(node, struct, fields)


def _method(cx, node, bound):
    if isinstance(bound.value, str):
        no_keywords(cx, node)
        return GUEST_METHODS[bound.value](cx, node, bound.receiver)
    return call_function(cx, node, bound.value, spread(cx, node.args), bound.receiver)


def spread(cx, arguments):
    """The arguments of a call, with those of each `*(a, b, c)[i:j]` one by one."""
    plain = []
    for argument in arguments:
        starred = isinstance(argument, ast.Starred)
        plain += _chosen(cx, argument.value) if starred else [argument]
    return plain


def _chosen(cx, node):
    if isinstance(node, ast.Tuple):
        return node.elts
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Slice):
        ends = [
            cx.build_value(end) if end is not None else None
            for end in (node.slice.lower, node.slice.upper)
        ]
        return _chosen(cx, node.value)[slice(*ends)]
    return cx.error(
        node,
        "kernel Python has no `*` here but before a tuple written out, or a slice of one",
        help="name each part; many values are a `Slice[T]`",
    )


def _pointer_call(cx, node, callee):
    need_non_null(cx, callee)
    no_keywords(cx, node)
    params = callee.type.params
    arguments = [
        value(cx, a, t) for a, t in zip(_arguments(cx, node, len(params)), params, strict=True)
    ]
    cx.forget()
    return typed.CallPointer(node, callee.type.result, callee, arguments)


def call_function(cx, node, python, arguments, receiver=None):
    """Check a call of a Python function; a method comes with its checked receiver."""
    if traits_of(python).kind == "formatter":
        return format_call(cx, node, python)
    function = cx.program.declare(python)
    if function is None:
        _refuse_wrapped(cx, node, python)
        cx.error(
            node.func,
            f"`{python.__qualname__}` is build-time Python, it cannot be called here",
            help=_why_build_time(python),
        )
    no_keywords(cx, node, [name for name, _ in function.params])
    given, expected = len(arguments) + (receiver is not None), len(function.params)
    if given != expected:
        names, plural = ", ".join(name for name, _ in function.params), "" if expected == 1 else "s"
        cx.error(
            node, f"`{function.name}` takes {expected} argument{plural} ({names}), not {given}"
        )
    if function.variables:
        checked, bindings = _infer(cx, node, function, arguments, receiver)
    else:
        checked, bindings = _check_arguments(cx, function, arguments, receiver), {}
    instance = cx.program.instantiate(function, bindings)
    cx.instance.callees.setdefault(instance, node)
    cx.forget()
    return typed.Call(node, instance.result, instance, checked)


def _why_build_time(python):
    """What makes a function plain Python, and how it would be compiled."""
    if python.__module__.partition(".")[0] == "kpy":
        return f"`{python.__name__}` belongs at module level"
    if traits_of(python).kind == "build_time":
        return f"it is marked `@build_time`: compute `{python.__name__}(…)` at module level"
    missing = unannotated(python)
    if missing and missing != ["return"]:
        return f"annotate `{missing[0]}`, as in `{missing[0]}: u64`, to have it compiled"
    return "annotate the result, `-> u64` or `-> None`, to have it compiled"


def _check_arguments(cx, function, arguments, receiver):
    params = list(function.params)
    checked = []
    if receiver is not None:
        checked.append(coerce(cx, receiver, params.pop(0)[1]))
    for argument, (name, type_) in zip(arguments, params, strict=True):
        checked.append(value(cx, argument, type_, f"parameter `{name}` of `{function.name}`"))
    return checked


def _infer(cx, node, function, arguments, receiver):
    """Bind the type variables of a generic function; typed arguments decide before literals do, and
    before guest addresses, which do not tell whether the core's copy is tainted."""
    bindings, checked = {}, []
    slots = [receiver] if receiver is not None else []
    slots += [
        _type_or_expression(cx, a, p)
        for a, p in zip(arguments, function.params[len(slots) :], strict=True)
    ]
    pairs = list(zip(slots, function.params, strict=True))
    for late in (False, True):
        for slot, (name, type_) in pairs:
            literal = isinstance(slot, typed.Expr) and slot.type is UNTYPED
            if (literal or isinstance(type_, GuestType)) is late:
                _bind(cx, slot, name, type_, bindings)
    missing = [str(variable) for variable in function.variables if variable not in bindings]
    if missing:
        cx.error(node, f"the arguments of `{function.name}` do not tell what `{missing[0]}` is")
    for slot, (name, type_) in pairs:
        want = rewrite(type_, lambda variable: bindings.get(variable, variable))
        if not isinstance(type_, TypeArgument):
            checked.append(coerce(cx, slot, want, f"parameter `{name}` of `{function.name}`"))
    return checked, bindings


def _type_or_expression(cx, node, param):
    if isinstance(param[1], TypeArgument):
        return typed.Meta(node, META, cx.type_at(node))
    expr = expression(cx, node)
    return settle(cx, expr) if expr.type is META else expr


def _bind(cx, slot, name, type_, bindings):
    mentioned = []
    collect_variables(type_, mentioned)
    if not mentioned:
        return
    if isinstance(type_, TypeArgument):
        bindings.setdefault(type_.variable, slot.value)
        return
    if slot.type is UNTYPED:
        slot = fit(cx, slot, bindings.get(type_, u64)) if bindings.get(type_) is None else slot
    if slot.type is UNTYPED or match(type_, slot.type, bindings):
        return
    shown = rewrite(type_, lambda variable: bindings.get(variable, variable))
    advice = ""
    if (
        isinstance(slot.type, PtrType)
        and slot.type.nullable
        and match(type_, non_null(slot.type), dict(bindings))
    ):
        advice = f"`{cx.text(slot.at)}` may be null: check it first"
    elif isinstance(type_, PtrType) and not isinstance(slot.type, PtrType):
        advice = f"take its address, `ref({cx.text(slot.at)})`"
    advice = advice or who_gave_it(slot.type, type_)
    cx.error(slot.at, f"expected `{shown}` (parameter `{name}`), found `{slot.type}`", help=advice)
