"""The program: functions and their instances, found lazily from the bodies that use them.

A `Function` is a declaration, read once from a Python function. An `Instance` is what gets
compiled: a function with its type variables bound (most have none).
"""

import inspect
from dataclasses import dataclass, field

from kpy.front import source
from kpy.front.annotations import as_type, resolve, rewrite
from kpy.front.decorators import traits_of
from kpy.front.diagnostics import Diagnostic, Diagnostics, Reported
from kpy.front.types import PtrType, Type, TypeArgument, intern


@dataclass(eq=False, repr=False)
class Function:
    """A declared function: `params` are (name, type) pairs, which may mention `variables`."""

    python: object
    traits: object
    tree: object
    path: str
    module: str
    name: str
    params: list
    result: Type
    variables: list

    @property
    def symbol(self):
        return self.traits.symbol or f"{self.module}.{self.name}"

    def __repr__(self):
        return f"<function {self.symbol}>"  # whole, it would be the tree of all that it calls


@dataclass(eq=False, repr=False)
class Instance:
    """One compiled form of a function; `body` is filled in by the checker.

    `types` holds the arguments of `type[T]` parameters, which are gone from `params`.
    """

    function: Function
    bindings: dict
    params: list
    result: Type
    types: dict
    body: object = None
    callees: dict = field(default_factory=dict)  # Instance -> the syntax node of a call
    statics: dict = field(default_factory=dict)  # Static -> True
    state: str = "new"  # new, checking, checked, failed

    @property
    def symbol(self):
        if not self.bindings:
            return self.function.symbol
        arguments = ",".join(str(self.bindings[v]) for v in self.function.variables)
        return f"{self.function.symbol}<{arguments}>"

    def __repr__(self):
        return f"<instance {self.symbol}>"

    @property
    def shared(self):
        """Whether other modules refer to it by its symbol (else each user gets a copy)."""
        traits = self.function.traits
        return not self.bindings and (traits.inline != "always" or traits.export)


class Program:
    """All functions met so far, and all errors."""

    def __init__(self):
        self.diagnostics = Diagnostics()
        self.functions = {}
        self.instances = {}

    def declare(self, python):
        """Return the declaration of a Python function, or None for build-time Python."""
        if python not in self.functions:
            self.functions[python] = None  # what an erroneous declaration leaves behind
            self.functions[python] = self._declare(python)
        return self.functions[python]

    def instantiate(self, function, bindings):
        """Return the instance of a function for these bindings of its type variables."""
        key = (function, *(bindings[variable] for variable in function.variables))
        if key not in self.instances:
            bind = lambda variable: bindings.get(variable, variable)  # noqa: E731
            every = [(name, rewrite(type_, bind)) for name, type_ in function.params]
            params = [(name, type_) for name, type_ in every if not isinstance(type_, TypeArgument)]
            types = {name: t.variable for name, t in every if isinstance(t, TypeArgument)}
            self.instances[key] = Instance(
                function, dict(bindings), params, rewrite(function.result, bind), types
            )
        return self.instances[key]

    def error(self, path, node, message, **more):
        """Record an error at a syntax node, and raise `Reported`."""
        start = getattr(node, "col_offset", 0)
        end = getattr(node, "end_col_offset", start + 1)
        if getattr(node, "end_lineno", node.lineno) != node.lineno:
            end = 10_000
        self.diagnostics.add(Diagnostic(path, node.lineno, start, end, message, **more))
        raise Reported

    def layout_error(self, error):
        """Record that a struct cannot be laid out, at the field that is to blame."""
        path = error.struct.path
        line = source.find_field(path, error.struct.qualname, error.field)
        text = source.line_of(path, line)
        start = len(text) - len(text.lstrip())
        message = f"field `{error.field}` of `{error.struct}`: {error.reason}"
        self.diagnostics.add(Diagnostic(path, line, start, len(text), message))

    def _declare(self, python):
        traits = traits_of(python)
        if traits.kind == "build_time":
            return None
        tree, path = source.definition_of(python), python.__code__.co_filename
        owner = getattr(python, "__kpy_owner__", None)
        if tree is None:
            return None
        if traits.kind == "formatter":
            return _function(python, traits, tree, [], as_type(None, {}))
        if not _is_annotated(python, tree, owner):
            return None
        params, result = self._signature(python, tree, path, owner)
        return _function(python, traits, tree, params, result)

    def _signature(self, python, tree, path, owner):
        """Evaluate the annotations of a function, in the namespace of its module."""
        arguments = tree.args
        for odd in (arguments.vararg, arguments.kwarg, *arguments.kwonlyargs, *arguments.defaults):
            if odd is not None:
                self.error(
                    path, odd, "a compiled function takes positional parameters without defaults"
                )
        params = []
        for index, argument in enumerate([*arguments.posonlyargs, *arguments.args]):
            if index == 0 and owner is not None and argument.annotation is None:
                params.append((argument.arg, intern(PtrType, owner, False)))
            else:
                params.append((argument.arg, self.annotation(python, path, argument.arg, argument)))
        return params, self.annotation(python, path, "return", tree.returns)

    def annotation(self, python, path, key, node):
        try:
            return resolve(as_type(python.__annotations__[key], python.__globals__))
        except Exception as error:  # noqa: BLE001  whatever the programmer's annotation raised
            message = str(error) or type(error).__name__
            return self.error(path, node, f"bad annotation: {message}")


def _is_annotated(python, tree, owner):
    names = [argument.arg for argument in [*tree.args.posonlyargs, *tree.args.args]]
    if owner is not None:
        names = names[1:]
    return tree.returns is not None and all(name in python.__annotations__ for name in names)


def _function(python, traits, tree, params, result):
    variables = []
    for _, type_ in params:
        collect_variables(type_, variables)
    name = python.__qualname__.replace("<locals>.", "")
    path = python.__code__.co_filename
    return Function(python, traits, tree, path, python.__module__, name, params, result, variables)


def collect_variables(type_, found):
    """Append the type variables that a type mentions, in order."""

    def leaf(variable):
        if variable not in found:
            found.append(variable)
        return variable

    rewrite(type_, leaf)


def is_function(value):
    return inspect.isfunction(value)
