"""Numbers that a guest gave: what may be done with them, and what bounds them.

Nothing that a guest chooses may make the core panic. So a `Tainted` number takes only operations
that cannot, whatever it is; a comparison with a number of the core's narrows it (see `narrow`).
"""

from kpy.check import typed
from kpy.check.convert import how_long
from kpy.check.expr import describe
from kpy.front.types import TaintedType

OVERFLOWING = {"+": "added", "-": "subtracted", "*": "multiplied"}
RIGHT_SIDES = {"//": "a divisor", "%": "a divisor", "<<": "a count", ">>": "a count"}
SAFE = {"+": "wrapping_add", "-": "saturating_sub", "*": "wrapping_mul"}


def is_tainted(expr):
    return isinstance(expr.type, TaintedType)


def holds_tainted(type_):
    """Whether memory of a type holds what a guest gave, as a whole."""
    return type_.untainted() is not type_


def bare(expr):
    """A number without its taint, for an operation that is safe whatever it is."""
    return typed.Convert(expr.at, expr.type.inner, expr, "same") if is_tainted(expr) else expr


def taint(expr):
    """The result of an operation on a number that a guest gave."""
    return typed.Convert(expr.at, expr.type.tainted(), expr, "same")


def refuse(cx, expr, use, safe=""):
    """Report a use that could make the core panic."""
    text = cx.text(expr.at)
    advice = f"show an upper bound first, `require({text} < …, …)` or `if {text} >= …: return …`"
    if safe:
        advice += f"; or use `{safe}`"
    return cx.error(
        expr.at,
        f"a guest gave `{text}`: it cannot be {use} as it is",
        label=describe(expr),
        help=advice + how_long(cx, expr),
    )


def arithmetic(cx, node, op, left, right, mode, compute):
    """Check an operation with a tainted operand; `compute` checks it without the taint."""
    first = left if is_tainted(left) else right
    if mode == "checked" and op in OVERFLOWING:
        refuse(cx, first, OVERFLOWING[op], SAFE.get(op, ""))
    if op in RIGHT_SIDES and is_tainted(right):
        refuse(cx, right, RIGHT_SIDES[op])
    result = compute(bare(left), bare(right))
    if op == "%" or op == "&" and (_is_mask(left, right) or _is_mask(right, left)):
        return result
    return taint(result)


def _is_mask(mask, other):
    """Whether a constant leaves at most the lower half of what the other operand can be: an
    inverted mask is no bound."""
    return isinstance(mask, typed.Const) and 0 <= mask.value < 1 << other.type.bits - 1


def bounded(test):
    """The tainted operands that a comparison shows to be within bounds of the core's: those if it
    holds, and those if it does not."""
    if isinstance(test, typed.Member):
        subject = _source(test.subject)
        is_bounded = subject is not None and all(_source(item) is None for item in test.items)
        return ([subject] if is_bounded else []), []
    if not isinstance(test, typed.Compare):
        return [], []
    holds = _bounded(test.operands, test.ops)
    fails = _bounded(test.operands, [_INVERSE[test.ops[0]]]) if len(test.ops) == 1 else []
    return holds, fails


_INVERSE = {"==": "!=", "!=": "==", "<": ">=", "<=": ">", ">": "<=", ">=": "<"}


def _bounded(operands, ops):
    low, high = set(), set()
    for left, op, right in zip(range(len(ops)), ops, range(1, len(operands)), strict=True):
        small, large = (right, left) if op[0] == ">" else (left, right)
        if op in ("<", "<=", ">", ">=", "=="):
            high |= {small} if _source(operands[large]) is None else set()
            low |= {large} if _source(operands[small]) is None else set()
        if op == "==":
            high |= {large} if _source(operands[small]) is None else set()
            low |= {small} if _source(operands[large]) is None else set()
    found = [(i, _source(operands[i])) for i in sorted(high)]
    return [e for i, e in found if e is not None and (i in low or not e.type.signed)]


def _source(expr):
    """The tainted number that an operand is made of, widened perhaps; None for a number of the
    core's."""
    if is_tainted(expr):
        widened = isinstance(expr, typed.Convert) and expr.how != "truncate"
        return (_source(expr.operand) if widened else None) or expr
    is_bared = isinstance(expr, typed.Convert) and expr.how == "same"
    return _source(expr.operand) if is_bared and is_tainted(expr.operand) else None
