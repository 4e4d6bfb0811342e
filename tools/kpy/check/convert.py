"""Making an expression have the type that its place asks for."""

import enum

from kpy.check import typed
from kpy.check.paths import path_of
from kpy.front.annotations import resolve
from kpy.front.decorators import traits_of
from kpy.front.program import is_function
from kpy.front.structs import StructType
from kpy.front.types import (
    BOOL,
    META,
    NEVER,
    NONE,
    NULL,
    UNTYPED,
    ArrayType,
    EnumType,
    FnType,
    GuestType,
    IntType,
    Newtype,
    OptionalType,
    PtrType,
    ResultType,
    SliceType,
    TaintedPromise,
    TaintedType,
    VolatileType,
    bare,
    certain,
    i64,
    intern,
    is_integer,
    is_optional,
    is_pointer,
    is_uncertain,
    non_null,
    u64,
)

PLACES = (typed.Local, typed.StaticRef, typed.Deref, typed.FieldOf, typed.ElementOf)


def is_place(expr):
    """Whether an expression denotes memory or a variable that may be assigned."""
    if isinstance(expr, typed.FieldOf):
        return is_place(expr.base)
    if isinstance(expr, typed.ElementOf):
        return isinstance(expr.base.type, SliceType) or is_place(expr.base)
    return isinstance(expr, PLACES)


def fit(cx, const, type_):
    """Give an untyped integer the type that its context asks for."""
    value, limits = const.value, type_
    if const.inverted and value < 0 and not limits.signed:
        value &= (1 << limits.bits) - 1 if ~value >> limits.bits == 0 else -1
    if not limits.fits(value):
        unsigned = "" if type_.signed or value >= 0 else f", which is unsigned; use `i{type_.bits}`"
        cx.error(const.at, f"{_number(const.value)} does not fit in `{type_}`{unsigned}")
    return typed.Const(const.at, type_, value)


def fit_bits(cx, const, type_):
    """Like `fit`, for the operand of `& | ^`: a mask such as `~0xfff` stands for its low bits."""
    if const.value < 0 and not type_.signed and -const.value <= 1 << type_.bits:
        return typed.Const(const.at, type_, const.value & (1 << type_.bits) - 1)
    return fit(cx, const, type_)


def _number(value):
    if value.bit_length() > 256:
        return f"a number of {value.bit_length()} bits"
    return str(value) if abs(value) < 4096 else hex(value)


def settle(cx, expr):
    """Give an expression that nothing asks a type of its default one."""
    if expr.type is UNTYPED:
        return fit(cx, expr, i64 if expr.value < 0 and not expr.inverted else u64)
    if expr.type is META:
        return _settle_meta(cx, expr)
    return expr


def _settle_meta(cx, expr):
    if isinstance(expr, typed.Meta) and is_function(expr.value):
        return function_pointer(cx, expr)
    if isinstance(expr, typed.Bound):
        cx.error(expr.at, f"`{cx.text(expr.at)}` is a method: call it")
    title = getattr(expr.value, "__name__", None) or str(expr.value)
    advice = ""
    if isinstance(expr.value, (list, tuple, dict)):
        advice = f"a table at run time is a static, `static(Array[T, N], {cx.text(expr.at)})`"
    elif isinstance(expr.value, enum.Enum):
        advice = f"write `@enum(u8)` above `class {type(expr.value).__name__}:`, without a base"
    return cx.error(
        expr.at, f"`{title}` exists at build time only, it is no value here", help=advice
    )


def function_pointer(cx, meta):
    """The address of a function."""
    function = cx.program.declare(meta.value)
    if function is None or function.variables or function.traits.kind == "formatter":
        cx.error(
            meta.at, f"`{cx.text(meta.at)}` has no address: it is generic or build-time Python"
        )
    if traits_of(meta.value).kind == "asm":
        cx.error(meta.at, f"`{cx.text(meta.at)}` is inline assembly and has no address")
    instance = cx.program.instantiate(function, {})
    cx.instance.callees.setdefault(instance, None)
    params = tuple(type_ for _, type_ in instance.params)
    return typed.FunctionRef(meta.at, intern(FnType, params, instance.result, False), instance)


def coerce(cx, expr, want, because=""):
    """Return the expression as a `want`, or report why it is none."""
    have = expr.type
    if have is want:
        return expr
    if have is UNTYPED and is_integer(want):
        return fit(cx, expr, want)
    if have is UNTYPED and isinstance(want, OptionalType):
        return typed.Const(expr.at, want, fit(cx, expr, want.newtype).value)
    if have is UNTYPED and isinstance(want, TaintedType):
        return typed.Const(expr.at, want, fit(cx, expr, want.inner).value)
    if have is NULL and is_optional(want):
        return typed.Const(expr.at, want, None)
    if have is META:
        return coerce(cx, _settle_meta(cx, expr), want, because)
    if isinstance(want, ResultType) and have is not NEVER:
        return _to_result(cx, expr, want, because)
    if want is i64 and have is intern(ResultType, NONE):
        return typed.Convert(expr.at, want, expr, "same")
    if have is NEVER or (is_uncertain(want) and certain(want) is have):
        return typed.Convert(expr.at, want, expr, "same")
    origin = ""
    if isinstance(expr, typed.Local) and expr.var.line != expr.at.lineno:
        origin = f"from line {expr.var.line}"
    because = f" ({because})" if because else ""
    shown = "nothing" if have is NONE else f"`{have}`"
    return cx.error(
        expr.at,
        f"expected `{want}`{because}, found {shown}",
        label=origin,
        help=_advice(cx, expr, want),
    )


def _to_result(cx, expr, want, because):
    """A value, a negative number or an i64 as a `Result`; an i64 is an error code, or 0 where
    there is no value.
    """
    if want.value is NONE:
        if expr.type in (UNTYPED, NULL):
            code = fit(cx, expr, i64).value if expr.type is UNTYPED else 0
            if code > 0:
                cx.error(expr.at, f"a `{want}` is 0 or a negative error code")
            return typed.Const(expr.at, want, code)
        return typed.Convert(expr.at, want, coerce(cx, expr, i64, because), "same")
    if expr.type is i64:
        return typed.Fail(expr.at, want, expr, True)
    if expr.type is UNTYPED and expr.value < 0 and not expr.inverted:
        return typed.Fail(expr.at, want, fit(cx, expr, i64), False)
    return typed.Succeed(expr.at, want, coerce(cx, expr, want.value, because))


def _advice(cx, expr, want):
    """How to get from the type at hand to the one that is wanted, if that is known."""
    have, text = expr.type, cx.text(expr.at)
    if isinstance(have, ResultType):
        if have.value is want:
            return f"`ok({text})` is the value, or returns the error from this function"
        return f"`ok({text})` returns the error from this function, `.error` is it"
    if isinstance(have, TaintedType):
        return _how_to_bound(cx, expr, want)
    if who_gave_it(have, want):
        return who_gave_it(have, want)
    if isinstance(have, (IntType, Newtype, EnumType)) and isinstance(
        want, (IntType, Newtype, EnumType)
    ):
        if isinstance(have, Newtype) and isinstance(want, Newtype):
            return f"convert explicitly, `{want}({have.base}({text}))`"
        return f"convert explicitly, `{want}({text})`"
    if have is BOOL and is_integer(want):
        return f"convert explicitly, `{want}({text})`"
    if want is BOOL and is_integer(have):
        return f"compare, `{text} != 0`"
    if is_optional(have) and (non_null(have) is want or isinstance(have, OptionalType)):
        return f"`{text}` may be {missing(have)}: {how_to_check(cx, expr)}"
    if isinstance(want, PtrType) and want.target is have:
        return f"take its address, `ref({text})`"
    if isinstance(have, PtrType) and have.target is want:
        return f"read the value, `load({text})`"
    if isinstance(want, SliceType) and isinstance(have, ArrayType):
        return f"make a slice, `{text}[:]`"
    if (
        isinstance(have, PtrType)
        and isinstance(want, PtrType)
        and isinstance(have.target, VolatileType)
    ):
        return "the memory is volatile"
    return ""


def declared_type(expr):
    """The type of an expression, whatever is known of its value."""
    match expr:
        case typed.Local():
            return expr.var.type
        case typed.StaticRef():
            return resolve(expr.static.declared)
        case typed.FieldOf():
            return expr.field.type
        case typed.ElementOf():
            return _within(expr.base.type.element)
        case typed.Deref():
            return _within(expr.pointer.type.target)
    return expr.type


def _within(type_):
    return type_.element if isinstance(type_, VolatileType) else type_


def missing(type_):
    """What an optional value may be, in words."""
    return "null" if is_pointer(type_) else "None"


def _how_to_bound(cx, expr, want):
    text = cx.text(expr.at)
    if want is not expr.type.inner:
        return ""
    return (
        f"a guest gave `{text}`: show an upper bound first, `require({text} < …, …)`, "
        f"or take it as `{expr.type}`" + how_long(cx, expr)
    )


def who_gave_it(have, want):
    """The advice where pointers or slices differ in whether a guest gave what is there."""
    if type(have) is not type(want) or not isinstance(have, (PtrType, SliceType)):
        return ""
    there, wanted = (t.target if isinstance(t, PtrType) else t.element for t in (have, want))
    if there.untainted() is not there and wanted is there.untainted():
        return f"a guest gave what is there: take it as `{have}`"
    if isinstance(wanted, TaintedPromise) or there is not wanted is there.tainted():
        return f"a guest gives what is there: make it a `{there.tainted()}`"
    return ""


def how_to_check(cx, expr):
    """The advice for a value that may be None where it is used."""
    text, path = cx.text(expr.at), path_of(cx, expr)
    if path is None:
        return "copy it to a local variable and check that"
    advice = f"check it first, `if {text} is None: return …` or `require({text} is not None, …)`"
    return advice + how_long(cx, expr)


def how_long(cx, expr):
    """A warning, if a store or call ends what a test shows of an expression."""
    is_lasting = isinstance(expr, typed.Local) and not cx.is_exposed(expr.var)
    if is_lasting or path_of(cx, expr) is None:
        return ""
    return "; a store or call ends what is known: copy it to a local variable before one"


def truth(cx, expr):
    """An expression as a condition."""
    if expr.type is BOOL:
        return expr
    if expr.type is UNTYPED:
        return typed.Const(expr.at, BOOL, expr.value != 0)
    if expr.type is META:
        expr = settle(cx, expr)
    if isinstance(expr.type, TaintedType):
        expr = typed.Convert(expr.at, expr.type.inner, expr, "same")
    if is_integer(expr.type) or is_pointer(expr.type):
        zero = typed.Const(expr.at, expr.type, 0 if is_integer(expr.type) else None)
        return typed.Compare(expr.at, BOOL, [expr, zero], ["!="])
    if expr.type is NULL:
        return typed.Const(expr.at, BOOL, False)
    advice = f"`{cx.text(expr.at)} is not None`" if is_optional(expr.type) else ""
    return cx.error(
        expr.at,
        f"a condition takes a bool, an integer or a pointer, not `{expr.type}`",
        help=advice,
    )


def to_integer(cx, expr, type_):
    """`u32(x)`, `Mfn(x)`, `RunState(x)`: an explicit conversion to an integer type."""
    if expr.type is UNTYPED and not isinstance(type_, EnumType):
        return fit(cx, expr, type_)
    expr = settle(cx, expr)
    have = expr.type
    given = bare(have)
    if isinstance(type_, Newtype) and isinstance(given, (Newtype, EnumType)) and given is not type_:
        text = cx.text(expr.at)
        cx.error(
            expr.at,
            f"`{have}` and `{type_}` do not mix",
            help=f"go through `{type_}({given.base}({text}))`",
        )
    if have is type_:
        return expr
    if isinstance(have, TaintedType):
        return _tainted_to_integer(cx, expr, type_)
    if have is BOOL or isinstance(have, (IntType, Newtype, EnumType)):
        return typed.Convert(expr.at, type_, expr, "checked")
    if type_.bits == 64 and (is_pointer(have) or isinstance(have, GuestType)):
        return typed.Convert(expr.at, type_, expr, "same")
    advice = ""
    if isinstance(have, (StructType, ArrayType)):
        advice = "take the address of it first, `ref(…)`"
    elif isinstance(have, OptionalType):
        advice = f"check it first, `if {cx.text(expr.at)} is None: return …`"
    return cx.error(expr.at, f"cannot convert `{have}` to `{type_}`", help=advice)


def _tainted_to_integer(cx, expr, type_):
    """Convert what a guest gave: it stays tainted, and must fit whatever it is."""
    have, text = expr.type, cx.text(expr.at)
    low, high = (-1 << have.bits - 1, 1 << have.bits - 1) if have.signed else (0, 1 << have.bits)
    if isinstance(type_, EnumType) or not (type_.fits(low) and type_.fits(high - 1)):
        cx.error(
            expr.at,
            f"a guest gave `{text}`, a `{have}`: it may not fit in `{type_}`",
            help=f"show an upper bound first, `require({text} < …, …)`, or cut it, "
            f"`truncate({type_}, {text})`" + how_long(cx, expr),
        )
    return typed.Convert(expr.at, type_.tainted(), expr, "checked")
