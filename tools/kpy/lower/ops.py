"""Lowering of operators."""

from kpy.check import typed
from kpy.front.types import plain
from kpy.lower.function import intrinsic, resize
from kpy.lower.panics import SECOND_WAS_ADDED, WAS_ADDED, WAS_SUBTRACTED, mark
from kpy.lower.place import rule, value
from kpy.lower.types import register_type

WITH_OVERFLOW = {"+": "add", "-": "sub", "*": "mul"}
PLAIN = {"+": "add", "-": "sub", "*": "mul", "&": "and", "|": "or", "^": "xor"}
SHAPES = {"+": WAS_ADDED, "-": WAS_SUBTRACTED}
NAMES = {"+": "addition", "-": "subtraction", "*": "multiplication"}


@rule(typed.Binary)
def _binary(f, expr):
    left, right = value(f, expr.left), value(f, expr.right)
    f.at(expr.at)
    return compute(f, expr.at, expr.op, expr.left.type, left, expr.right, right, expr.mode)


def compute(f, node, op, type_, left, right_expr, right, mode="checked"):
    """`left op right`, both of the integer type `type_` (but for the count of a shift)."""
    kind = register_type(type_)
    if op in ("<<", ">>"):
        return _shift(f, node, op, type_, left, right_expr, right)
    if op in ("//", "%"):
        return _divide(f, node, op, type_, left, right_expr, right)
    if mode == "saturating":
        name = f"llvm.{'s' if type_.signed else 'u'}sub.sat.{kind}"
        return intrinsic(f, kind, name, [(kind, left), (kind, right)])
    if op in WITH_OVERFLOW and mode != "wrapping":
        name = f"llvm.{'s' if type_.signed else 'u'}{WITH_OVERFLOW[op]}.with.overflow.{kind}"
        both = intrinsic(f, f"{{ {kind}, i1 }}", name, [(kind, left), (kind, right)])
        if mode == "overflowing":
            return both
        return _checked(f, node, op, type_, both, (left, right))
    return f.emit(f"{PLAIN[op]} {kind} {left}, {right}")


def _checked(f, node, op, type_, both, operands):
    """The result of arithmetic, after the check that it did not overflow.

    The panic takes what is in registers anyway: a sum as it wrapped, not what it was added to.
    """
    kind = register_type(type_)
    result = f.emit(f"extractvalue {{ {kind}, i1 }} {both}, 0")
    flag = f.emit(f"extractvalue {{ {kind}, i1 }} {both}, 1")
    text = f"{NAMES[op]} overflow: {mark(type_)} {op} {mark(type_)}"
    (left, right), shape = operands, 0
    known = not left.startswith("%")
    if op == "+" and known:
        right, shape = result, SECOND_WAS_ADDED | type_.bits
    elif op in SHAPES and not known:
        left, shape = result, SHAPES[op] | type_.bits
    f.check(flag, node, text, (left, type_), (right, type_), shape=shape)
    return result


def _divide(f, node, op, type_, left, right_expr, right):
    kind, sign = register_type(type_), "s" if type_.signed else "u"
    if not isinstance(right_expr, typed.Const):
        text = f"division by zero: {mark(type_)} {op} 0"
        f.check(f.emit(f"icmp eq {kind} {right}, 0"), node, text, (left, type_))
    return f.emit(f"{sign}{'div' if op == '//' else 'rem'} {kind} {left}, {right}")


def _shift(f, node, op, type_, left, right_expr, right):
    count = plain(right_expr.type)
    if not isinstance(right_expr, typed.Const):
        bad = f.emit(f"icmp uge i{count.bits} {right}, {type_.bits}")
        f.check(bad, node, f"shift by {mark(count)} of a `{type_}`", (right, count))
        right = resize(f, right, count, type_)
    verb = "shl" if op == "<<" else "ashr" if type_.signed else "lshr"
    return f.emit(f"{verb} i{type_.bits} {left}, {right}")


@rule(typed.Unary)
def _unary(f, expr):
    register = value(f, expr.operand)
    f.at(expr.at)
    kind = register_type(expr.type)
    if expr.op == "not":
        return f.emit(f"xor i1 {register}, true")
    if expr.op == "invert":
        return f.emit(f"xor {kind} {register}, -1")
    zero = typed.Const(expr.at, expr.type, 0)
    return compute(f, expr.at, "-", expr.type, "0", zero, register)


PREDICATES = {"==": "eq", "!=": "ne", "<": "lt", "<=": "le", ">": "gt", ">=": "ge"}


def compare(f, op, type_, left, right):
    predicate = PREDICATES[op]
    if predicate not in ("eq", "ne"):
        predicate = ("s" if type_.signed else "u") + predicate
    return f.emit(f"icmp {predicate} {register_type(type_)} {left}, {right}")


@rule(typed.Compare)
def _compare(f, expr):
    left = value(f, expr.operands[0])
    right = value(f, expr.operands[1])
    f.at(expr.at)
    test = compare(f, expr.ops[0], _compared(expr.operands[0], expr.operands[1]), left, right)
    if len(expr.ops) == 1:
        return test
    end, tests = f.name("end"), []
    for i, op in enumerate(expr.ops[1:], 1):
        tests.append(f"[ false, %{f.current_block()} ]")
        onward = f.name("and")
        f.branch(test, onward, end)
        f.label(onward)
        left, right = right, value(f, expr.operands[i + 1])
        test = compare(f, op, _compared(expr.operands[i], expr.operands[i + 1]), left, right)
    tests.append(f"[ {test}, %{f.current_block()} ]")
    f.label(end)
    return f.emit(f"phi i1 {', '.join(tests)}")


def _compared(left, right):
    """The type of a comparison: that of the side which is no untyped literal."""
    return right.type if isinstance(left, typed.Const) else left.type


@rule(typed.Member)
def _member(f, expr):
    subject, kind = value(f, expr.subject), register_type(expr.subject.type)
    found = "false"
    for item in expr.items:
        test = f.emit(f"icmp eq {kind} {subject}, {value(f, item)}")
        found = test if found == "false" else f.emit(f"or i1 {found}, {test}")
    return found
