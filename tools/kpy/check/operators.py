"""Checking of operators: arithmetic, bits, comparisons, logic."""

import ast
import operator

from kpy.check import taint, typed
from kpy.check.convert import declared_type, fit, fit_bits, missing, settle, truth
from kpy.check.expr import TEXT_TYPE, describe, expression, rule, value
from kpy.check.refusals import COMPARE_TEXT, TEXT
from kpy.front.types import (
    BOOL,
    META,
    NULL,
    UNTYPED,
    EnumType,
    GuestType,
    IntType,
    Newtype,
    is_integer,
    is_optional,
    is_pointer,
    non_null,
    u64,
)

SYMBOLS = {
    ast.Add: "+", ast.Sub: "-", ast.Mult: "*", ast.FloorDiv: "//", ast.Mod: "%",
    ast.LShift: "<<", ast.RShift: ">>", ast.BitAnd: "&", ast.BitOr: "|", ast.BitXor: "^",
    ast.Div: "/", ast.Pow: "**", ast.MatMult: "@",
    ast.Eq: "==", ast.NotEq: "!=", ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=",
    ast.Is: "==", ast.IsNot: "!=", ast.In: "in", ast.NotIn: "not in",
}  # fmt: skip
FOLD = {
    "+": operator.add, "-": operator.sub, "*": operator.mul, "//": operator.floordiv,
    "%": operator.mod, "<<": operator.lshift, ">>": operator.rshift, "&": operator.and_,
    "|": operator.or_, "^": operator.xor,
    "**": operator.pow, "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le,
    ">": operator.gt, ">=": operator.ge,
}  # fmt: skip
MISSING = {"/": "integer division is `//`", "@": "multiply in a loop"}
LARGEST_EXPONENT = 512  # no type has more than 64 bits
VERBS = {"+": "add", "-": "subtract", "*": "multiply", "//": "divide"}
BITWISE = ("&", "|", "^")


@rule(ast.BinOp)
def _binary(cx, node, want):
    op = SYMBOLS[type(node.op)]
    hint = want if want is not None and (is_integer(want) or want is BOOL) else None
    left = expression(cx, node.left, hint)
    beside = left.type if is_integer(left.type) and op not in ("<<", ">>") else hint
    return arithmetic(cx, node, op, left, expression(cx, node.right, beside), hint)


def arithmetic(cx, node, op, left, right, want=None, mode="checked"):
    """Check `left op right`, given its checked operands."""
    if op in MISSING:
        cx.error(node, f"kernel Python has no `{op}`", help=MISSING[op])
    if left.type is UNTYPED and right.type is UNTYPED:
        return _fold(cx, node, op, left, right)
    if taint.is_tainted(left) or taint.is_tainted(right):
        compute = lambda one, two: arithmetic(cx, node, op, one, two, want, mode)  # noqa: E731
        return taint.arithmetic(cx, node, op, left, right, mode, compute)
    if op in ("<<", ">>"):
        return _shift(cx, node, op, left, right, want)
    if op == "**":
        cx.error(
            node,
            "kernel Python has no `**` between values known at run time only",
            help="multiply; `1 << n` and `bit(n)` are powers of 2",
        )
    left, right = _settled(cx, left), _settled(cx, right)
    result = _result_type(cx, op, left, right)
    if result is None:
        return mismatch(cx, op, left, right)
    left, right = _adapt(cx, op, left, right), _adapt(cx, op, right, left)
    if op in ("//", "%"):
        _check_division(cx, node, op, left, right)
    return typed.Binary(node, result, op, left, right, mode)


def _settled(cx, expr):
    return settle(cx, expr) if expr.type is META else expr


def _fold(cx, node, op, left, right):
    if op in ("<<", "**") and right.value > LARGEST_EXPONENT:
        cx.error(node, f"`{cx.text(node)}` is too large a number")
    try:
        folded = FOLD[op](left.value, right.value)
    except (KeyError, ValueError, ZeroDivisionError) as error:
        return cx.error(node, f"cannot compute `{cx.text(node)}`: {error}")
    if not isinstance(folded, int):
        cx.error(node, f"`{cx.text(node)}` is no integer")
    inverted = op in BITWISE and (left.inverted or right.inverted)
    return typed.Const(node, UNTYPED, folded, inverted)


def _result_type(cx, op, left, right):
    """The type of the result, or None where the operands do not go together."""
    one, two = left.type, right.type
    if isinstance(one, Newtype) or isinstance(two, Newtype):
        return _newtype_result(op, one, two)
    if one is UNTYPED or two is UNTYPED:
        typed_one = two if one is UNTYPED else one
        return typed_one if isinstance(typed_one, IntType) else None
    if one is two and (isinstance(one, IntType) or (one is BOOL and op in BITWISE)):
        return one
    return None


def _newtype_result(op, one, two):
    if op == "-" and one is two:
        return one.base
    if op in ("+", "-") and isinstance(one, Newtype) and two in (one.base, UNTYPED):
        return one
    if op == "+" and isinstance(two, Newtype) and one in (two.base, UNTYPED):
        return two
    return None


def _adapt(cx, op, expr, other):
    """Give an untyped operand the type of the other one."""
    if expr.type is not UNTYPED:
        return expr
    type_ = other.type.base if isinstance(other.type, Newtype) else other.type
    return fit_bits(cx, expr, type_) if op in BITWISE else fit(cx, expr, type_)


def _check_division(cx, node, op, left, right):
    known = right.value if isinstance(right, typed.Const) else None
    if known == 0:
        cx.error(right.at, "division by zero")
    if left.type.signed and not (known and known > 0):
        cx.error(
            node,
            f"`{op}` of a signed `{left.type}` takes a positive literal only",
            help="convert to an unsigned type first",
        )


def _shift(cx, node, op, left, right, want):
    left, right = _settled(cx, left), settle(cx, right)
    if left.type is UNTYPED:
        left = fit(cx, left, want if want is not None and is_integer(want) else u64)
    if not isinstance(left.type, IntType) or not is_integer(right.type):
        return mismatch(cx, op, left, right)
    if isinstance(right, typed.Const) and not 0 <= right.value < left.type.bits:
        cx.error(right.at, f"shift by {right.value} of a `{left.type}`")
    return typed.Binary(node, left.type, op, left, right)


def mismatch(cx, op, left, right):
    """Report operands that do not go together, with carets under both."""
    one, two = left.type, right.type
    verb = f"cannot {VERBS[op]}" if op in VERBS else f"cannot apply `{op}` to"
    notes = [cx.note(right.at, describe(right))] if right.at.lineno == left.at.lineno else []
    label = describe(left) if not notes else ""
    return cx.error(
        left.at,
        f"{verb} `{one}` and `{two}`",
        label=label,
        notes=notes,
        help=_advice(cx, op, left, right),
    )


def _advice(cx, op, left, right):
    one, two = left.type, right.type
    if one is TEXT_TYPE or two is TEXT_TYPE:
        return TEXT if op not in ("==", "!=") else COMPARE_TEXT
    texts = [cx.text(left.at), cx.text(right.at)]
    if NULL in (one, two):
        return f"a `{two if one is NULL else one}` is never None"
    for expr in (left, right):
        if is_pointer(expr.type) and op in VERBS:
            return "a pointer has no arithmetic: index a slice, or compute with `u64(p)`"
        if is_optional(expr.type):
            text = cx.text(expr.at)
            return f"`{text}` may be {missing(expr.type)}: check it first, `{text} is not None`"
        if isinstance(expr.type, GuestType):
            return "a guest address has no arithmetic: `g.index(i)`, or `g.address()`"
    if isinstance(one, IntType) and isinstance(two, IntType):
        wide, narrow = (one, 1) if one.bits >= two.bits else (two, 0)
        texts[narrow] = f"{wide}({texts[narrow]})"
    elif isinstance(one, (Newtype, EnumType)) or isinstance(two, (Newtype, EnumType)):
        for i, type_ in enumerate((one, two)):
            if isinstance(type_, (Newtype, EnumType)):
                texts[i] = f"{type_.base}({texts[i]})"
    elif BOOL in (one, two):
        return "a bool is no integer: `u64(flag)` converts"
    else:
        return ""
    return f"convert explicitly, `{texts[0]} {op} {texts[1]}`"


@rule(ast.UnaryOp)
def _unary(cx, node, want):
    if isinstance(node.op, ast.Not):
        operand = truth(cx, expression(cx, node.operand))
        if isinstance(operand, typed.Const):
            return typed.Const(node, BOOL, not operand.value)
        return typed.Unary(node, BOOL, "not", operand)
    operand = expression(cx, node.operand, want)
    if operand.type is UNTYPED:
        return _fold_unary(node, operand)
    if isinstance(node.op, ast.UAdd):
        return operand
    op = "neg" if isinstance(node.op, ast.USub) else "invert"
    operand = settle(cx, operand)
    if taint.is_tainted(operand) and op == "invert":
        plain = taint.bare(operand)
        return taint.taint(typed.Unary(node, plain.type, op, plain))
    if not isinstance(operand.type, IntType):
        cx.error(node, f"`{cx.text(node)}`: `{operand.type}` has no such operator")
    if op == "neg" and not operand.type.signed:
        cx.error(
            node,
            f"cannot negate an unsigned `{operand.type}`",
            help="`wrapping_sub(0, x)`, or convert first",
        )
    if op == "invert" and isinstance(operand, typed.Const) and not operand.type.signed:
        return typed.Const(node, operand.type, ~operand.value & operand.type.high)
    return typed.Unary(node, operand.type, op, operand)


def _fold_unary(node, operand):
    if isinstance(node.op, ast.USub):
        return typed.Const(node, UNTYPED, -operand.value)
    if isinstance(node.op, ast.Invert):
        return typed.Const(node, UNTYPED, ~operand.value, inverted=not operand.inverted)
    return operand


@rule(ast.BoolOp)
def _logic(cx, node, want):
    from kpy.check.narrow import condition

    test = condition(cx, node)[0]
    if isinstance(test, typed.Logic) and all(map(_is_made_a_bool, test.items)):
        first = cx.text(node.values[0])
        cx.error(
            node,
            "`and` and `or` give a bool here, not one of their operands",
            help=f"`a if {first} else b` chooses; a bool is `{first} != 0 or …`",
        )
    return test


def _is_made_a_bool(item):
    """Whether a condition is an integer or pointer that was compared with 0 by the language."""
    if isinstance(item, typed.Const):
        return isinstance(item.at, ast.Constant) and not isinstance(item.at.value, bool)
    return isinstance(item, typed.Compare) and item.at is item.operands[0].at


@rule(ast.Compare)
def _compare(cx, node, want):
    if isinstance(node.ops[0], (ast.In, ast.NotIn)):
        return _membership(cx, node)
    nodes, ops = [node.left, *node.comparators], [SYMBOLS[type(op)] for op in node.ops]
    operands = [_settled(cx, expression(cx, nodes[0]))]
    for item in nodes[1:]:
        operands.append(_settled(cx, expression(cx, item, operands[-1].type)))
    if len(ops) == 1:
        _check_identity(cx, node.ops[0], *operands)
    if len(ops) == 1 and all(isinstance(item, typed.Const) for item in operands):
        folded = _fold_comparison(node, ops[0], *operands)
        if folded is not None:
            return folded
    for i, op in enumerate(ops):
        operands[i], operands[i + 1] = comparable(cx, op, operands[i], operands[i + 1])
    for i in range(len(ops) - 1):  # a literal in the middle may have met its type on the right only
        operands[i], operands[i + 1] = comparable(cx, ops[i], operands[i], operands[i + 1])
    return typed.Compare(node, BOOL, operands, ops)


def _check_identity(cx, op, left, right):
    """`is` is for pointers and `None`."""
    if not isinstance(op, (ast.Is, ast.IsNot)):
        return
    shown = next((e for e in (left, right) if not _has_identity(e)), None)
    if shown is not None:
        sign = "==" if isinstance(op, ast.Is) else "!="
        advice = f"write `{cx.text(left.at)} {sign} {cx.text(right.at)}`"
        if NULL in (left.type, right.type):
            advice = f"a `{shown.type}` is never None"
        elif shown.type is TEXT_TYPE:
            advice = COMPARE_TEXT
        message = f"`is` compares pointers, and `{cx.text(shown.at)}` is a `{shown.type}`"
        cx.error(shown.at, message, help=advice)


def _has_identity(expr):
    return is_pointer(expr.type) or expr.type is NULL or is_optional(declared_type(expr))


def _fold_comparison(node, op, left, right):
    numbers = all(item.type is UNTYPED or is_integer(item.type) for item in (left, right))
    if numbers and (left.type is right.type or UNTYPED in (left.type, right.type)):
        return typed.Const(node, BOOL, FOLD[op](left.value, right.value))
    return None


def comparable(cx, op, left, right):
    """Make the operands of a comparison have one type, or report them."""
    left, right = taint.bare(left), taint.bare(right)
    if left.type is UNTYPED and right.type is UNTYPED:
        return left, right
    if left.type is UNTYPED and is_integer(right.type):
        left = fit(cx, left, right.type)
    if right.type is UNTYPED and is_integer(left.type):
        right = fit(cx, right, left.type)
    for one, two in ((left, right), (right, left)):
        if one.type is NULL and (is_pointer(two.type) or is_optional(declared_type(two))):
            null = typed.Const(one.at, declared_type(two), None)
            return (null, right) if one is left else (left, null)
    one, two = left.type, right.type
    if is_pointer(one) and is_pointer(two) or is_optional(one) or is_optional(two):
        if op in ("==", "!=") and non_null(one) is non_null(two):
            return left, right
    elif one is two and (is_integer(one) or op in ("==", "!=") and _has_equality(one)):
        return left, right
    return _incomparable(cx, op, left, right)


def _has_equality(type_):
    return type_ is BOOL or isinstance(type_, (EnumType, GuestType))


def _incomparable(cx, op, left, right):
    if left.type is right.type:
        advice = (
            "compare field by field" if op in ("==", "!=") else "only `==` and `!=` compare these"
        )
        if left.type is TEXT_TYPE:
            advice = COMPARE_TEXT
        return cx.error(left.at, f"`{left.type}` has no `{op}`", help=advice)
    notes = [cx.note(right.at, describe(right))] if right.at.lineno == left.at.lineno else []
    return cx.error(
        left.at,
        f"cannot compare `{left.type}` and `{right.type}`",
        notes=notes,
        help=_advice(cx, op, left, right),
    )


def _membership(cx, node):
    if len(node.ops) != 1:
        cx.error(node, "`in` does not chain with other comparisons")
    subject = value(cx, node.left)
    right = node.comparators[0]
    if isinstance(right, (ast.Tuple, ast.List, ast.Set)):
        items = [expression(cx, item) for item in right.elts]
    else:
        items = [cx.wrap(right, item) for item in _members(cx, node.left, right)]
    items = [comparable(cx, "==", subject, _settled(cx, item))[1] for item in items]
    test = typed.Member(node, BOOL, subject, items)
    return typed.Unary(node, BOOL, "not", test) if isinstance(node.ops[0], ast.NotIn) else test


def _members(cx, subject, node):
    """What stands after `in`: a tuple, list, set or dict that a module made."""
    text = cx.text(subject)
    if isinstance(node, ast.Call) and cx.text(node.func) == "range":
        bounds = [cx.text(argument) for argument in node.args[:2]]
        low, high = bounds if len(bounds) == 2 else ("0", *bounds)[:2] if bounds else ("0", "n")
        cx.error(node, "`in` takes no `range`", help=f"write `{low} <= {text} < {high}`")
    expr = expression(cx, node)
    found = expr.value if isinstance(expr, typed.Meta) else None
    if not isinstance(found, (tuple, list, set, frozenset, dict)):
        cx.error(
            node,
            f"`in` takes values known at build time, not a `{expr.type}`",
            help=f"`{text} in (A, B, C)`; what is in memory a loop searches",
        )
    return found
