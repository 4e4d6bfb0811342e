"""Access paths: which memory an expression denotes, as far as that can be told from its text.

`v.domain.grant` is the path (v, *, domain, *, grant): a variable or static, then what is read of
it. What a test has shown of a path holds until the next store to memory or call
(`Context.forget`); what it has shown of a variable whose address nobody took, until the next
assignment to it.
"""

from kpy.check import typed
from kpy.front.types import (
    META,
    UNTYPED,
    SliceType,
    TaintedType,
    VolatileType,
    certain,
    is_uncertain,
)

READ = "*"  # the step through a pointer or slice


def key_of(cx, expr):
    """What stands for a place in `cx.narrowed`: a variable, or a path; None where it has none."""
    path = path_of(cx, expr)
    return path[0] if path and len(path) == 1 and isinstance(expr, typed.Local) else path


def path_of(cx, expr):
    """The path of an expression, or None: its place may be another one when it is computed again,
    or it is volatile."""
    match expr:
        case typed.Local():
            return (expr.var,)
        case typed.StaticRef():
            return None if isinstance(expr.type, VolatileType) else (expr.static,)
        case typed.Deref(volatile=False):
            return _step(path_of(cx, expr.pointer), READ)
        case typed.FieldOf():
            return None if expr.field.volatile else _step(path_of(cx, expr.base), expr.field.name)
        case typed.ElementOf(volatile=False):
            base = path_of(cx, expr.base)
            if isinstance(expr.base.type, SliceType):
                base = _step(base, READ)
            return _step(base, _index(cx, expr.index))
    return None


def _step(path, step):
    return None if path is None or step is None else (*path, step)


def _index(cx, expr):
    """An index as a step: a number, or a variable that only an assignment can change."""
    if isinstance(expr, typed.Const):
        return expr.value
    is_plain = isinstance(expr, typed.Local) and not cx.is_exposed(expr.var)
    return expr.var if is_plain else None


def known(cx, expr):
    """Give a place that was just checked the type that is known of it."""
    if is_uncertain(expr.type) and key_of(cx, expr) in cx.narrowed:
        expr.type = certain(expr.type)
    return expr


def tells(type_, expr):
    """Whether a value that is stored to a place of a type shows what it is narrowed to."""
    if expr.type is UNTYPED:
        return isinstance(type_, TaintedType)
    return is_uncertain(type_) and expr.type in (certain(type_), META)


def learn(cx, target, expr):
    """Note what was just stored to a place in memory.

    Only where the way to the place reads no memory: the store might have changed that.
    """
    path = path_of(cx, target)
    if path is None or not tells(target.type, expr):
        return
    is_variable = isinstance(path[0], typed.Var) and not cx.is_exposed(path[0])
    if path.count(READ) <= is_variable:
        cx.narrowed.add(path)
