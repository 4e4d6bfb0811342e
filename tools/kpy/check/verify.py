"""What must hold of a typed tree: variables have a value when used, and nothing recurses."""

import contextlib
import dataclasses
import functools
import os

from kpy.check import typed
from kpy.front.diagnostics import Reported


def definite_assignment(program, instance, body):
    """Report each local variable that is read on a path that never assigned it."""
    walker = _Assignments(program, instance.function.path)
    walker.block(body.statements, frozenset(body.params))


class _Assignments:
    """`block` returns the variables assigned after it, or None where control does not get there."""

    def __init__(self, program, path):
        self.program, self.path = program, path
        self.reported = set()
        self.exits = []  # for each open loop, what is assigned at its breaks

    def block(self, statements, assigned):
        for statement in statements:
            if assigned is None:
                return None
            assigned = self.statement(statement, assigned)
        return assigned

    def statement(self, node, assigned):
        match node:
            case typed.Assign(place=typed.Local(var=var)):
                self.read(node.value, assigned)
                return assigned | {var}
            case typed.If():
                self.read(node.test, assigned)
                return _join(self.block(node.then, assigned), self.block(node.other, assigned))
            case typed.While():
                return self._while(node, assigned)
            case typed.ForRange() | typed.ForEach():
                return self._for(node, assigned)
            case typed.Switch():
                self.read(node.subject, assigned)
                ends = [self.block(body, assigned) for _, body in node.cases]
                if node.default is not None:
                    ends.append(self.block(node.default, assigned))
                return functools.reduce(_join, ends)
            case typed.With():
                return self._with(node, assigned)
            case typed.Return() | typed.Break() | typed.Continue() | typed.Panic():
                if isinstance(node, typed.Break):
                    self.exits[-1].append(assigned)
                if isinstance(node, typed.Return) and node.value is not None:
                    self.read(node.value, assigned)
                return None
            case typed.Evaluate(expr=typed.Operation(name="sequence")):
                return self.block(node.expr.arguments, assigned)
            case typed.Evaluate():
                self.read(node.expr, assigned)
                return None if str(node.expr.type) == "Never" else assigned
        for part in parts(node):
            self.read(part, assigned)
        return assigned

    def _while(self, node, assigned):
        self.read(node.test, assigned)
        self.exits.append([])
        self.block(node.body, assigned)
        exits = self.exits.pop()
        if not isinstance(node.test, typed.Const):
            exits.append(assigned)
        return functools.reduce(_join, exits, None)

    def _for(self, node, assigned):
        for part in parts(node):
            self.read(part, assigned)
        counter = {node.counter} if getattr(node, "counter", None) else set()
        self.exits.append([])
        self.block(node.body, assigned | {node.var} | counter)
        self.exits.pop()
        return assigned

    def _with(self, node, assigned):
        for hold in node.holds:
            self.read(hold.value, assigned)
            assigned = assigned | {hold.var} | ({hold.bound} if hold.bound else set())
        return self.block(node.body, assigned)

    def read(self, expr, assigned):
        if isinstance(expr, typed.Local):
            self._use(expr, assigned)
        for part in parts(expr):
            self.read(part, assigned)

    def _use(self, expr, assigned):
        var = expr.var
        if var in assigned or var in self.reported:
            return
        self.reported.add(var)
        with contextlib.suppress(Reported):
            self.program.error(self.path, expr.at, f"`{var.name}` may have no value here")


def _join(one, two):
    if one is None or two is None:
        return two if one is None else one
    return one & two


def parts(node):
    """The expressions directly below a node."""
    for field in _expression_fields(type(node)):
        yield from _expressions(getattr(node, field))


def _expressions(value):
    if isinstance(value, (typed.Expr, typed.Evaluate, typed.Assign)):
        yield value
    elif isinstance(value, typed.Hold):
        yield value.value
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _expressions(item)
    elif isinstance(value, dict):
        yield from _expressions(list(value.values()))


@functools.cache
def _expression_fields(kind):
    skipped = ("at", "type", "var", "body", "then", "other", "cases", "instance", "static", "field")
    names = [field.name for field in dataclasses.fields(kind)]
    if issubclass(kind, typed.Choose):
        return ["test", "then", "other"]
    if issubclass(kind, typed.Attempt):
        return ["operand"]
    return [name for name in names if name not in skipped]


def recursion(program, instances):
    """Report each cycle of calls once, at the call that closes it."""
    done, path = set(), []

    def visit(instance):
        path.append(instance)
        for callee, node in instance.callees.items():
            if callee in path and node is not None:
                _report_cycle(program, path[path.index(callee) :], instance, node)
            elif callee not in done and callee not in path:
                visit(callee)
        done.add(path.pop())

    for instance in instances:
        if instance not in done:
            visit(instance)


def _report_cycle(program, cycle, instance, node):
    names = " -> ".join(f"`{member.function.name}`" for member in [*cycle, cycle[0]])
    with contextlib.suppress(Reported):
        advice = "the stack is small; write a loop"
        program.error(instance.function.path, node, f"recursion: {names}", help=advice)


def symbols(program, instances):
    """Report functions of one symbol whose declarations differ, or that are defined twice.

    The instances are those of one program; in another the same symbol may be something else.
    """
    first = {}
    for instance in instances:
        if not instance.shared:
            continue
        other = first.setdefault(instance.symbol, instance)
        if other is not instance:
            _compare_symbols(program, instance, other)


def _compare_symbols(program, instance, other):
    function, tree = instance.function, instance.function.tree
    where = f"{os.path.relpath(other.function.path)}:{other.function.tree.lineno}"
    message = ""
    if (instance.result, _types(instance)) != (other.result, _types(other)):
        message = f"`{instance.symbol}` is declared differently at {where}"
    elif "extern" not in (function.traits.kind, other.function.traits.kind):
        message = f"`{instance.symbol}` is defined at {where} too"
    if message:
        with contextlib.suppress(Reported):
            program.error(function.path, tree, message)


def _types(instance):
    return [type_ for _, type_ in instance.params]
