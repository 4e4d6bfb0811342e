"""The program: functions and their instances, found lazily from the bodies that use them.

A `Function` is a declaration, read once from a Python function. An `Instance` is what gets
compiled: a function with its type variables bound (most have none).
"""

import ast
import inspect
from dataclasses import dataclass, field

from kpy.front import source
from kpy.front.annotations import as_type, resolve, rewrite
from kpy.front.decorators import traits_of
from kpy.front.diagnostics import Diagnostic, Diagnostics, Reported
from kpy.front.types import PtrType, Type, TypeArgument, intern

BROKEN = object()  # stands for a function whose declaration has an error


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
        self.made = {}  # how many functions build-time functions made under one name
        self.instances = {}

    def declare(self, python):
        """Return the declaration of a Python function, or None for build-time Python."""
        if python not in self.functions:
            self.functions[python] = BROKEN
            self.functions[python] = self._declare(python)
        if self.functions[python] is BROKEN:
            raise Reported
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
        if missing := unannotated(python):
            self._refuse_half_marked(python, traits, tree, path, missing)
            return None
        self._refuse_kinds(traits, tree, path)
        params, result = self._signature(python, tree, path, owner)
        function = _function(python, traits, tree, params, result)
        if "<locals>" in python.__qualname__:
            key = function.module, function.name
            count = self.made[key] = self.made.get(key, 0) + 1
            function.name += f".{count}" if count > 1 else ""
        return function

    def _signature(self, python, tree, path, owner):
        """Evaluate the annotations of a function, in the namespace of its module."""
        arguments = tree.args
        self._refuse_parameters(arguments, path)
        params = []
        for index, argument in enumerate([*arguments.posonlyargs, *arguments.args]):
            if index == 0 and owner is not None and argument.annotation is None:
                params.append((argument.arg, intern(PtrType, owner, False)))
            else:
                params.append((argument.arg, self.annotation(python, path, argument.arg, argument)))
        result = self.annotation(python, path, "return", tree.returns)
        known, unknown = [], []
        for _, type_ in params:
            collect_variables(type_, known)
        collect_variables(result, unknown)
        if unbound := [variable for variable in unknown if variable not in known]:
            self.error(path, tree.returns, f"no parameter tells what `{unbound[0]}` is")
        return params, result

    def _refuse_half_marked(self, python, traits, tree, path, missing):
        """Report a function that is to be compiled by its decorator, and is not annotated."""
        marked = traits.export or traits.inline or traits.kind in ("extern", "asm")
        if not marked:
            return
        what = "result" if missing[0] == "return" else f"parameter `{missing[0]}`"
        advice = "`-> None`, `-> u64` …" if missing[0] == "return" else f"`{missing[0]}: u64`"
        self.error(path, tree, f"the {what} of `{python.__name__}` has no annotation", help=advice)

    def _refuse_kinds(self, traits, tree, path):
        """Report generators, coroutines, and a body where none is compiled."""
        if isinstance(tree, ast.AsyncFunctionDef):
            self.error(path, tree, "kernel Python has no `async`", help="write a plain `def`")
        if traits.kind in ("extern", "asm") and not all(map(_says_nothing, tree.body)):
            self.error(
                path,
                next(item for item in tree.body if not _says_nothing(item)),
                f"the body of an `@{traits.kind}` function is never run",
                help="it is defined elsewhere: write `...`",
            )

    def _refuse_parameters(self, arguments, path):
        one_by_one = "a compiled function takes positional parameters without defaults"
        several, names = "pass a `Slice[T]`", "pass a struct"
        for odd, advice in (
            *((node, "pass it in every call") for node in arguments.defaults),
            (arguments.vararg, several),
            (arguments.kwarg, names),
            *((node, "write it before the `*`") for node in arguments.kwonlyargs),
        ):
            if odd is not None:
                self.error(path, odd, one_by_one, help=advice)

    def annotation(self, python, path, key, node):
        try:
            return resolve(as_type(python.__annotations__[key], python.__globals__))
        except Exception as error:  # noqa: BLE001  whatever the programmer's annotation raised
            message = str(error) or type(error).__name__
            advice = getattr(error, "help", "")
            return self.error(path, node, f"bad annotation: {message}", help=advice)


def unannotated(python):
    """The parameters of a function that have no annotation, and "return"; `self` needs none."""
    tree, owner = source.definition_of(python), getattr(python, "__kpy_owner__", None)
    if tree is None:
        return ["return"]
    arguments = [*tree.args.posonlyargs, *tree.args.args, *tree.args.kwonlyargs]
    names = [argument.arg for argument in arguments][1 if owner is not None else 0 :]
    missing = [name for name in names if name not in python.__annotations__]
    return missing if tree.returns is not None else [*missing, "return"]


def _says_nothing(statement):
    """Whether a statement is a docstring, `...` or `pass`."""
    constant = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Constant)
    return constant or isinstance(statement, ast.Pass)


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
