"""Mutant schemata: one compilation in which each check can be switched off by its number.

A *check* is what keeps a function from going on: `require(…)`, `ok(…)`, an `if` that ends in a
refusal, an `if` that only sets an error code, or that alone lifts one, `… if … else ERROR`, and an
`if` that returns True where else False is returned. Each operand of its `and` or `or` is a check of
its own, and so is each operand of a chain that a predicate returns. With the check switched off the
operand is still evaluated, and then ignored. An `assert` is none: it says what holds already.

    program = kpy.jit.load("kernel.frames.page_type", mutants=("kernel",))
    program.switch_off(program.checks[7])

The rewritten operand asks `kpy.lower.mutant_switch.is_off`, and only when it would refuse: so the
switch also notes which checks have refused since, and a test in which a check never refused cannot
tell whether that check is there.
"""

import ast
import os
from dataclasses import dataclass

from kpy.check import typed, verify
from kpy.front.forward import ROOT
from kpy.front.types import BOOL, is_integer, u32
from kpy.lower import mutant_switch

LOOPS = (typed.While, typed.ForRange, typed.ForEach)


@dataclass(frozen=True)
class Check:
    """One removable check, as people read it: `text` names the operand and what follows from it."""

    number: int
    module: str
    file: str
    line: int
    function: str
    text: str

    @property
    def key(self):
        """What names the check while lines move."""
        return f"{self.file} {self.function}: {self.text}"


class Mutants:
    """The pass, and the checks that it has met: those of the modules whose names begin so."""

    def __init__(self, program, modules):
        self.program, self.modules = program, tuple(modules)
        self.checks, self.numbers = [], {}
        self.repeated = {}

    def __call__(self, instance):
        """Rewrite a checked body."""
        name = instance.function.module
        if any(name == m or name.startswith(f"{m}.") for m in self.modules):
            Pass(self, instance).block(instance.body.statements)

    def number_of(self, instance, node, text):
        """The number of a check; the instances of a generic function share theirs."""
        function = instance.function
        place = (function.path, node.lineno, node.col_offset, node.end_lineno, node.end_col_offset)
        if place not in self.numbers:
            number = self.numbers[place] = len(self.checks) + 1
            file = os.path.relpath(function.path, ROOT)
            name = function.tree.name if function.python.__closure__ else function.name
            count = self.repeated[file, name, text] = self.repeated.get((file, name, text), 0) + 1
            text = text if count == 1 else f"{text} (#{count})"
            self.checks.append(Check(number, function.module, file, node.lineno, name, text))
        return self.numbers[place]


class Pass:
    """The rewriting of one body."""

    def __init__(self, mutants, instance):
        self.mutants, self.instance = mutants, instance
        self.is_off = mutants.program.instantiate(mutants.program.declare(mutant_switch.is_off), {})

    def block(self, statements, in_loop=False):
        """Rewrite every statement, those inside others too."""
        for before, node in zip([None, *statements], statements, strict=False):
            if isinstance(node, typed.If):
                self._guard(before, node, in_loop)
                self._success(node, statements[-1], in_loop)
            if isinstance(node, typed.Return):
                self._predicate(node)
            if isinstance(node, (typed.Return, typed.Assign)):
                self._choice(node.value)
            for attempt in attempts(node):
                text = f"ok({ast.unparse(attempt.operand.at)})"
                attempt.failed = self._leaf(attempt.failed, False, text)
            for body in bodies(node):
                self.block(body, in_loop or isinstance(node, LOOPS))

    def _guard(self, before, node, in_loop):
        """Rewrite an `if` of which one side refuses, or that alone lifts a refusal."""
        if refuses(node.then, node.test, in_loop):
            self._rewrite(node, False, f"if {{}}: {shown(node.then[-1])}")
        elif refuses(node.other, node.test, in_loop):
            is_require = isinstance(node.at, ast.Call)
            text = "require({}, RESULT)" if is_require else "if {}: … else: RESULT"
            self._rewrite(node, True, text.replace("RESULT", shown(node.other[-1])))
        elif name := lifted_error(before, node):
            self._rewrite(node, True, f"if {{}}: {name} = …")

    def _success(self, node, last, in_loop):
        """Rewrite an `if` that alone returns True, where the block ends in `return False`."""
        if not in_loop and not node.other and returns(node.then[-1], True) and returns(last, False):
            self._rewrite(node, True, "if {}: return True")

    def _rewrite(self, node, wanted, text):
        node.test = self._drop(node.test, wanted, text)

    def _predicate(self, node):
        if isinstance(node.value, typed.Logic):
            text = f"return … {node.value.op} {{}}"
            node.value.items = [
                self._leaf(item, node.value.op == "and", text) for item in node.value.items
            ]

    def _choice(self, value):
        """Rewrite `… if test else ERROR`, or the other way round."""
        if isinstance(value, typed.Choose) and is_error(value.then) != is_error(value.other):
            wanted = is_error(value.other)
            error = ast.unparse((value.other if wanted else value.then).at)
            text = f"… if {{}} else {error}" if wanted else f"{error} if {{}} else …"
            value.test = self._drop(value.test, wanted, text)

    def _drop(self, test, wanted, text):
        """Let each operand be dropped from a test that must come out as `wanted` to go on."""
        if isinstance(test, typed.Unary) and test.op == "not":
            test.operand = self._drop(test.operand, not wanted, text.replace("{}", "not {}"))
            return test
        if isinstance(test, typed.Logic) and (test.op == "and") is wanted:
            test.items = [self._drop(item, wanted, text) for item in test.items]
            return test
        return self._leaf(test, wanted, text)

    def _leaf(self, test, wanted, text):
        """`test or is_off(n)`, or `test and not is_off(n)`."""
        at = test.at
        number = self.mutants.number_of(self.instance, at, text.replace("{}", ast.unparse(at)))
        call = typed.Call(at, BOOL, self.is_off, [typed.Const(at, u32, number)])
        if wanted:
            return typed.Logic(at, BOOL, "or", [test, call])
        return typed.Logic(at, BOOL, "and", [test, typed.Unary(at, BOOL, "not", call)])


def attempts(node):
    """Each `ok(…)` among the expressions of a statement, not of those inside it."""
    for part in verify.parts(node):
        yield from attempts(part)
        if isinstance(part, typed.Attempt):
            yield part


def bodies(node):
    """The lists of statements inside a statement."""
    if isinstance(node, typed.If):
        return [node.then, node.other]
    if isinstance(node, typed.Switch):
        return [*(body for _, body in node.cases), node.default or []]
    return [node.body] if hasattr(node, "body") else []


def refuses(body, test, in_loop):
    """Whether a body ends in a refusal, or does nothing but set an error code."""
    if not body:
        return False
    last = body[-1]
    if isinstance(last, typed.Return):
        return not (in_loop and last.value is None) and is_refusal(last.value, test)
    return len(body) == 1 and sets_error(last)


def returns(node, value):
    """Whether a statement is `return True`, or `return False`."""
    if not isinstance(node, typed.Return) or not isinstance(node.value, typed.Const):
        return False
    return node.value.type is BOOL and bool(node.value.value) is value


def is_refusal(value, test):
    """Whether a result says no: nothing, None, False, an error or another named constant, or the
    variable that the test looked at.
    """
    if isinstance(value, typed.MakeTuple):
        return any(is_error(item) for item in value.items) or is_refusal(value.items[-1], test)
    if isinstance(value, (typed.Convert, typed.Succeed)):
        return is_refusal(value.operand, test)
    if isinstance(value, typed.Local):
        names = (n.id for n in ast.walk(test.at) if isinstance(n, ast.Name))
        return is_integer(value.type) and value.var.name in names
    if value is None or is_error(value):
        return True
    if not isinstance(value, typed.Const) or value.value is None or value.type is BOOL:
        return isinstance(value, typed.Const) and not value.value
    return value.value != 0 and isinstance(value.at, (ast.Name, ast.Attribute))


def is_error(value):
    """Whether an expression is an error code."""
    if isinstance(value, typed.Fail):
        return True
    return isinstance(value, typed.Const) and isinstance(value.value, int) and value.value < 0


def sets_error(node):
    """Whether a statement gives a variable an error code."""
    return (
        isinstance(node, typed.Assign)
        and isinstance(node.place, typed.Local)
        and is_error(node.value)
    )


def lifted_error(before, node):
    """The variable that held an error until an `if` without `else` gives it another value."""
    if before is None or not sets_error(before) or node.other:
        return ""
    var = before.place.var
    for item in node.then:
        place = item.place if isinstance(item, typed.Assign) else None
        if isinstance(place, typed.Local) and place.var is var:
            return var.name
    return ""


def shown(node):
    """What a refusal returns or sets, as source text."""
    if isinstance(node, typed.Assign):
        return f"{node.place.var.name} = {ast.unparse(node.value.at)}"
    if isinstance(node.at, ast.Call):  # `require`
        return ast.unparse(node.at.args[1])
    return ast.unparse(node.at)
