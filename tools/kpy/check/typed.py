"""The typed tree: what the checker makes of a function body, and all that the lowering sees.

Every expression carries its type and the syntax node it came from. Conversions, null checks and
bounds checks are decided here; a `place` is an expression that denotes memory or a local variable.
"""

import ast
from dataclasses import dataclass, field
from typing import Any

from kpy.front.types import Type


@dataclass(eq=False)
class Var:
    """A parameter or local variable."""

    name: str
    type: Type
    line: int
    is_param: bool = False


@dataclass
class Node:
    at: ast.AST


@dataclass
class Expr(Node):
    type: Type


@dataclass
class Const(Expr):
    """A number, truth value, enum member or null pointer."""

    value: Any
    inverted: bool = False  # the result of `~` on a literal: fits an unsigned type by its low bits


@dataclass
class Text(Expr):
    data: bytes


@dataclass
class Meta(Expr):
    """Something of build time only: a module, type, function or builtin, not yet used."""

    value: Any


@dataclass
class Bound(Expr):
    """A method and its receiver, not yet called; `value`: a function, or a builtin's name."""

    value: Any
    receiver: Expr


@dataclass
class FunctionRef(Expr):
    instance: Any


@dataclass
class Local(Expr):
    var: Var


@dataclass
class StaticRef(Expr):
    static: Any


@dataclass
class Deref(Expr):
    pointer: Expr
    volatile: bool = False


@dataclass
class FieldOf(Expr):
    base: Expr
    field: Any


@dataclass
class ElementOf(Expr):
    """`base[index]` of an array place or slice; `checked` unless the index is known to fit."""

    base: Expr
    index: Expr
    checked: bool
    volatile: bool = False


@dataclass
class AddressOf(Expr):
    place: Expr


@dataclass
class Binary(Expr):
    """Arithmetic; `mode` is checked, wrapping, saturating or overflowing (value and flag)."""

    op: str
    left: Expr
    right: Expr
    mode: str = "checked"


@dataclass
class Unary(Expr):
    op: str  # neg, invert or not
    operand: Expr


@dataclass
class Compare(Expr):
    operands: list[Expr]
    ops: list[str]


@dataclass
class Member(Expr):
    subject: Expr
    items: list[Expr]


@dataclass
class Logic(Expr):
    op: str  # and, or
    items: list[Expr]


@dataclass
class Choose(Expr):
    test: Expr
    then: Expr
    other: Expr


@dataclass
class Convert(Expr):
    """`how`: same (bits unchanged), nonnull, checked (panics when the value is lost), truncate."""

    operand: Expr
    how: str


@dataclass
class Call(Expr):
    instance: Any
    arguments: list[Expr]


@dataclass
class CallPointer(Expr):
    pointer: Expr
    arguments: list[Expr]


@dataclass
class Operation(Expr):
    """A builtin that lowers to instructions of its own; see `lower_builtins`."""

    name: str
    arguments: list[Expr]


@dataclass
class MakeTuple(Expr):
    items: list[Expr]


@dataclass
class ItemOf(Expr):
    tuple: Expr
    index: int


@dataclass
class MakeStruct(Expr):
    fields: dict[str, Expr]


@dataclass
class MakeArray(Expr):
    items: list[Expr]


@dataclass
class Zeroed(Expr):
    pass


@dataclass
class Uninitialized(Expr):
    pass


@dataclass
class MakeSlice(Expr):
    pointer: Expr
    length: Expr


@dataclass
class SliceOf(Expr):
    base: Expr
    low: Expr | None
    high: Expr | None


@dataclass
class SlicePart(Expr):
    slice: Expr
    part: str  # ptr, len


@dataclass
class Succeed(Expr):
    """A value as a `Result`."""

    operand: Expr


@dataclass
class Fail(Expr):
    """An i64 as the error of a `Result`; `checked` unless it is known to be a code."""

    operand: Expr
    checked: bool


@dataclass
class IsFailure(Expr):
    result: Expr


@dataclass
class ErrorOf(Expr):
    """The error code of a `Result`, 0 if it has none; `known`: it has one."""

    result: Expr
    known: bool


@dataclass
class ValueOf(Expr):
    """The value of a `Result`; `known`: it has one, else that is checked."""

    result: Expr
    known: bool


@dataclass
class Attempt(Expr):
    """`ok(…)`: the operand goes to `var`; `leave` is done if it failed, else this is its value.

    The other three expressions look at `var`.
    """

    var: Var
    operand: Expr
    failed: Expr
    leave: Any  # Return
    value: Expr | None


@dataclass
class EnumName(Expr):
    operand: Expr


@dataclass
class Assign(Node):
    place: Expr
    value: Expr


@dataclass
class Augment(Node):
    """`place op= value`; the place is computed once."""

    place: Expr
    op: str
    value: Expr


@dataclass
class Evaluate(Node):
    expr: Expr


@dataclass
class If(Node):
    test: Expr
    then: list[Node]
    other: list[Node]


@dataclass
class While(Node):
    test: Expr
    body: list[Node]


@dataclass
class ForRange(Node):
    var: Var
    start: Expr
    stop: Expr
    step: Expr
    backwards: bool
    body: list[Node]


@dataclass
class ForEach(Node):
    """Over an array place or slice; `by_pointer` for struct elements; `counter` for `enumerate`."""

    var: Var
    base: Expr
    by_pointer: bool
    counter: Var | None
    body: list[Node]


@dataclass
class Break(Node):
    pass


@dataclass
class Continue(Node):
    pass


@dataclass
class Return(Node):
    value: Expr | None


@dataclass
class Switch(Node):
    """`default` is None where the cases name every member of an enum."""

    subject: Expr
    cases: list[tuple[list[int], list[Node]]]
    default: list[Node] | None


@dataclass
class Hold:
    """What a `with` holds: a lock by its address in `var`, or a reference, the value of `var`.

    `enter` is the call that takes a lock, `bound` the variable of its result; `leave` is run on
    every way out.
    """

    var: Var
    value: Expr
    enter: Expr | None
    leave: list[Node]
    bound: Var | None = None


@dataclass
class With(Node):
    holds: list[Hold]
    body: list[Node]


@dataclass
class Check(Node):
    """`assert`: panic with the text unless the test holds."""

    test: Expr
    text: str


@dataclass
class Panic(Node):
    text: str


@dataclass
class Body:
    """A checked function body."""

    statements: list[Node]
    params: list[Var]
    locals: list[Var] = field(default_factory=list)
