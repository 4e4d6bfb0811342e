"""Random programs mean the same compiled as under CPython on the reference's integers."""

import random

import kpy.jit
import pytest

from tests.kpy.reference import NAMES, TYPES, Int, Panic

FUNCTIONS_PER_MODULE, CALLS_PER_FUNCTION = 25, 12
UNSIGNED = ["u8", "u16", "u32", "u64"]


class Generator:
    """Makes the source of functions `f(a, b, c)`; every choice comes from one seed."""

    def __init__(self, seed):
        self.random = random.Random(seed)
        self.vars = {}

    def pick(self, *choices):
        return self.random.choice(choices)

    def function(self, name):
        params = {letter: self.pick(*TYPES) for letter in "abc"}
        self.result = self.pick(*TYPES)
        self.vars = dict(params)
        self.lines = []
        self.lines.append("    arr = Array[u32, 5]()")
        for i in range(2):
            self.declare(f"x{i}")
        for _ in range(5):
            self.statement(1, in_loop=False)
        self.lines.append(f"    return {self.expr(self.result, 3)}")
        head = ", ".join(f"{letter}: {type_}" for letter, type_ in params.items())
        source = "\n".join([f"def {name}({head}) -> {self.result}:", *self.lines])
        return source, list(params.values())

    def declare(self, name):
        type_ = self.pick(*TYPES)
        self.lines.append(f"    {name} = {self.expr(type_, 2)}")
        self.vars[name] = type_

    def line(self, depth, text):
        self.lines.append("    " * depth + text)

    def statement(self, depth, in_loop):
        kind = self.pick("assign", "assign", "augment", "array", "if", "for", "leave")
        if kind in ("if", "for") and depth > 3:
            kind = "assign"
        name = self.pick("x0", "x1")
        type_ = self.vars[name]
        if kind == "assign":
            self.line(depth, f"{name} = {self.expr(type_, 3)}")
        elif kind == "augment":
            self.line(depth, f"{name} {self.pick('+', '-', '&', '|', '^')}= {self.expr(type_, 2)}")
        elif kind == "array":
            self.line(
                depth, f"arr[{self.expr(self.pick(*UNSIGNED), 1)} % 6] = {self.expr('u32', 2)}"
            )
        elif kind == "if":
            self.branch(depth, in_loop)
        elif kind == "for":
            self.loop(depth)
        elif in_loop:
            self.line(depth, f"if {self.condition(1)}:")
            self.line(depth + 1, self.pick("break", "continue"))
        else:
            self.line(depth, f"if {self.condition(1)}:")
            self.line(depth + 1, f"return {self.expr(self.result, 2)}")

    def branch(self, depth, in_loop):
        self.line(depth, f"if {self.condition(2)}:")
        self.statement(depth + 1, in_loop)
        if self.random.random() < 0.5:
            self.line(depth, "else:")
            self.statement(depth + 1, in_loop)

    def loop(self, depth):
        name, type_ = f"i{depth}", self.pick(*UNSIGNED)
        outer = dict(self.vars)
        self.line(depth, f"for {name} in range({type_}({self.random.randrange(6)})):")
        self.vars[name] = type_
        for _ in range(2):
            self.statement(depth + 1, in_loop=True)
        self.vars = outer

    def expr(self, type_, depth):
        names = [name for name, have in self.vars.items() if have == type_]
        if depth == 0 or self.random.random() < 0.15:
            return self.pick(*names) if names and self.random.random() < 0.7 else self.const(type_)
        kind = self.pick(
            "binary", "binary", "call", "convert", "convert", "choose", "shift", "unary"
        )
        return getattr(self, kind)(type_, depth - 1)

    def const(self, type_):
        limits = TYPES[type_]
        value = self.pick(0, 1, 2, 7, limits.high, limits.low, self.random.randint(0, limits.high))
        return f"{type_}({value})"

    def binary(self, type_, depth):
        ops = ["+", "-", "*", "&", "|", "^"]
        if not TYPES[type_].signed:
            ops += ["//", "%"]
        elif self.random.random() < 0.2:
            return f"({self.expr(type_, depth)} {self.pick('//', '%')} {self.pick(1, 2, 3, 8)})"
        right = self.pick(self.expr(type_, depth), str(self.random.randrange(1, 100)))
        op = self.pick(*ops)
        if op in ("//", "%"):  # a literal 0 would be an error already
            right = f"max({type_}(0), {right})"
        return f"({self.expr(type_, depth)} {op} {right})"

    def call(self, type_, depth):
        name = self.pick(
            "wrapping_add", "wrapping_sub", "wrapping_mul", "saturating_sub", "min", "max"
        )
        if self.random.random() < 0.1:
            return f"popcount({self.expr(type_, depth)})"
        return f"{name}({self.expr(type_, depth)}, {self.expr(type_, depth)})"

    def convert(self, type_, depth):
        if self.random.random() < 0.1 and type_ == "u32":
            return f"arr[{self.expr('u8', depth)} % 6]"
        if self.random.random() < 0.1:
            return f"{type_}({self.condition(depth)})"
        inner = self.expr(self.pick(*TYPES), depth)
        return self.pick(
            f"{type_}({inner})", f"truncate({type_}, {inner})", f"truncate({type_}, {inner})"
        )

    def choose(self, type_, depth):
        return (
            f"({self.expr(type_, depth)} if {self.condition(depth)} else {self.expr(type_, depth)})"
        )

    def shift(self, type_, depth):
        count = f"({self.expr(self.pick(*UNSIGNED), depth)} % {TYPES[type_].bits + 2})"
        if TYPES[type_].bits + 2 > 200:
            count = "3"
        return f"({self.expr(type_, depth)} {self.pick('<<', '>>')} {count})"

    def unary(self, type_, depth):
        sign = "-" if TYPES[type_].signed else "~"
        return f"({self.pick(sign, '~')}{self.expr(type_, depth)})"

    def condition(self, depth):
        type_ = self.pick(*TYPES)
        kind = (
            self.pick("compare", "compare", "chain", "logic", "not", "in") if depth else "compare"
        )
        depth = max(depth - 1, 0)
        op = self.pick("==", "!=", "<", "<=", ">", ">=")
        if kind == "compare":
            return f"({self.expr(type_, depth)} {op} {self.expr(type_, depth)})"
        if kind == "chain":
            low, middle, high = (self.expr(type_, depth) for _ in range(3))
            return f"({low} <= {middle} < {high})"
        if kind == "logic":
            return f"({self.condition(depth)} {self.pick('and', 'or')} {self.condition(depth)})"
        if kind == "in":
            return f"({self.expr(type_, depth)} in (1, 2, {self.random.randrange(100)}))"
        return f"(not {self.condition(depth)})"


def outcome(call, arguments, panic):
    """The result of a call, or that it panicked."""
    try:
        result = call(*arguments)
    except panic:
        return "panic"
    return int(result)


@pytest.mark.parametrize("nth", range(8))
def test_compiled_programs_agree_with_cpython(module, nth, run_seed):
    generator = Generator(f"{run_seed} {nth}")
    made = [generator.function(f"f{i}") for i in range(FUNCTIONS_PER_MODULE)]
    program = kpy.jit.load(module("\n".join(source for source, _ in made)))
    panics = 0
    for i, (source, types) in enumerate(made):
        reference = dict(NAMES)
        exec(compile("from __future__ import annotations\n" + source, f"f{i}", "exec"), reference)
        for _ in range(CALLS_PER_FUNCTION):
            numbers = [int(generator.const(type_).split("(")[1][:-1]) for type_ in types]
            arguments = [Int(TYPES[type_], n) for type_, n in zip(types, numbers, strict=True)]
            expected = outcome(reference[f"f{i}"], arguments, Panic)
            found = outcome(getattr(program, f"f{i}"), numbers, kpy.jit.KpyPanic)
            assert found == expected, f"{source}\ncalled with {numbers}"
            panics += expected == "panic"
    assert 0 < panics < FUNCTIONS_PER_MODULE * CALLS_PER_FUNCTION
