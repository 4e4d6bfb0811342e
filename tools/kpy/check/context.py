"""The state of checking one function: variables, what is known of them, name lookup."""

import ast
import builtins
import difflib

from kpy.check import typed
from kpy.front.annotations import Maker, as_type, resolve, rewrite
from kpy.front.decorators import Static
from kpy.front.diagnostics import Note, Reported
from kpy.front.forward import Forward
from kpy.front.structs import StructType
from kpy.front.types import (
    BOOL,
    META,
    NULL,
    UNTYPED,
    ArrayType,
    LazyType,
    SliceType,
    TypedInt,
    TypeVar,
    intern,
    u8,
)

TEXT = intern(SliceType, u8)
_KNOWN = {ast.JoinedStr: "print the values with a formatter before; a failed comparison shows its"}


class Context:
    """What the checks of one body share."""

    def __init__(self, program, instance):
        self.program, self.instance = program, instance
        self.function = instance.function
        self.path = self.function.path
        self.vars = {}
        self.locals = []
        self.narrowed = set()  # variables and paths (see `paths`) known here not to be None
        self.stores = 0  # how often memory may have changed so far
        self.loops = 0
        self.has_errors = False  # some statement did not check
        self.held = {}  # variables that a `with` gives back -> the function that does
        self.given_back = {}  # names of those whose `with` is over -> its last line
        self.global_names = set()
        self.assigned_names = assigned_names(self.function.tree.body)
        python = self.function.python
        cells = zip(python.__code__.co_freevars, python.__closure__ or (), strict=True)
        self.closure = {name: cell.cell_contents for name, cell in cells} | instance.types
        self.scope = python.__globals__
        self.exposed_names = exposed_names(self.function.tree)

    def error(self, node, message, **more):
        """Record an error at a syntax node, and give up the statement."""
        self.program.error(self.path, node, message, **more)

    def note(self, node, text):
        return Note(node.lineno, node.col_offset, node.end_col_offset, text)

    def text(self, node):
        return ast.unparse(node)

    def is_exposed(self, var):
        """Whether the address of a variable is taken somewhere: a store or call may change it."""
        return var.name in self.exposed_names

    def forget(self):
        """Drop what is known of memory: a store or call may have changed it."""
        self.stores += 1
        self.narrowed = self.lasting(self.narrowed)

    def lasting(self, keys):
        """What of that which is known no store and no call can change."""
        return {k for k in keys if isinstance(k, typed.Var) and not self.is_exposed(k)}

    def forget_variable(self, var):
        """Drop what is known of a variable that is assigned, and of what is reached through it."""
        if self.is_exposed(var) or isinstance(var.type, (ArrayType, StructType)):
            self.forget()
        self.narrowed = {
            k for k in self.narrowed if k is not var and not (isinstance(k, tuple) and var in k)
        }

    def declare(self, name, type_, node):
        """Make a new local variable, with no type where its value did not check."""
        if type_ is not None and self.is_static(name):
            self.error(
                node,
                f"`{name}` is a static of this module: this would make a local variable beside it",
                help=f"write `global {name}` first in the function, or call the local otherwise",
            )
        var = typed.Var(name, type_, node.lineno)
        self.vars[name] = var
        self.given_back.pop(name, None)
        self.locals.append(var)
        return var

    def is_static(self, name):
        """Whether a name stands for memory of the module."""
        return name not in self.closure and isinstance(self.scope.get(name), Static)

    def temporary(self, type_, node):
        var = typed.Var("", type_, node.lineno)
        self.locals.append(var)
        return var

    def keep_held(self, node, var):
        """Report what could change a variable that a `with` is to give back."""
        if var in self.held:
            message = f"`{var.name}` is given back by `{self.held[var]}`, and cannot be changed"
            self.error(node, message, help="use a variable of another name")

    def taker_back(self, expr):
        """The function that takes back what a call returns, or None."""
        if isinstance(expr, typed.Attempt):
            expr = expr.operand
        put = expr.instance.function.traits.gives_back if isinstance(expr, typed.Call) else None
        return None if put is None else self.kept(put)

    def lookup(self, node, name):
        """Find a name that is no local variable, as a Python object."""
        for namespace in (self.closure, self.scope, vars(builtins)):
            if name in namespace:
                return self.kept(namespace[name])
        if name in self.given_back:
            line, put = self.given_back[name]
            return self.error(node, f"`{name}` was given back by `{put}` on line {line}")
        if name in self.assigned_names:
            return self.error(node, f"`{name}` is used before it has a value")
        known = [*self.vars, *self.scope]
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean `{close[0]}`?" if close else ""
        owner = getattr(self.function.python, "__kpy_owner__", None)
        if owner is not None and (name in owner.fields or name in owner.namespace):
            hint = f"did you mean `self.{name}`?"
        return self.error(node, f"name `{name}` is not defined", help=hint)

    def kept(self, found):
        """What a promise of an import cycle stands for; a broken one has been reported."""
        if not isinstance(found, Forward):
            return found
        try:
            return found.find()
        except (KeyError, AttributeError):
            raise Reported from None

    def bind(self, type_):
        """Replace type variables by what they stand for in this instance."""
        return rewrite(type_, lambda variable: self.instance.bindings.get(variable, variable))

    def type_at(self, node):
        """The type that a syntax node names."""
        value = self.build_value(node)
        try:
            type_ = self.bind(resolve(as_type(value, self.scope)))
        except Exception as error:  # noqa: BLE001  whatever evaluating the annotation raised
            return self.error(node, f"not a type: {error}", help=getattr(error, "help", ""))
        if isinstance(type_, TypeVar):
            self.error(node, f"type variable `{type_}` is not bound by any parameter")
        return type_

    def build_value(self, node):
        """Evaluate a syntax node made of build-time names only, to a Python object."""
        match node:
            case ast.Constant():
                return node.value
            case ast.Name():
                if node.id in self.vars and node.id not in self.global_names:
                    return self.error(node, f"`{node.id}` is known at run time only")
                return self.lookup(node, node.id)
            case ast.Attribute():
                return self.attribute(node, self.build_value(node.value), node.attr)
            case ast.Tuple():
                return tuple(self.build_value(item) for item in node.elts)
            case ast.List():
                return [self.build_value(item) for item in node.elts]
            case ast.Subscript():
                return self._subscript(node)
            case ast.BinOp(op=ast.BitOr()):
                return self._alternative(node)
            case ast.BinOp() | ast.UnaryOp() | ast.Call():
                return self._constant_expression(node)
        return self.error(node, "this must be known at build time", help=_KNOWN.get(type(node), ""))

    def _alternative(self, node):
        """`Ptr[T] | None`, or bits."""
        left, right = self.build_value(node.left), self.build_value(node.right)
        try:
            return left | right
        except TypeError as error:
            return self.error(
                node, f"`{self.text(node)}`: {error}", help=getattr(error, "help", "")
            )

    def _subscript(self, node):
        base, index = self.build_value(node.value), self.build_value(node.slice)
        try:
            return base.apply(index, self.scope) if isinstance(base, Maker) else base[index]
        except (TypeError, KeyError, IndexError) as error:
            return self.error(node, f"`{self.text(node)}`: {error}")

    def _constant_expression(self, node):
        from kpy.check.expr import expression

        value = expression(self, node)
        if not isinstance(value, typed.Const):
            self.error(node, "this must be known at build time")
        return value.value

    def attribute(self, node, owner, name):
        try:
            return self.kept(getattr(owner, name))
        except AttributeError:
            pass
        known = [key for key in dir(owner) if not key.startswith("_")]
        known += list(getattr(owner, "members", ())) + list(getattr(owner, "namespace", ()))
        close = difflib.get_close_matches(name, known, 1)
        hint = f"did you mean `{close[0]}`?" if close else ""
        title = getattr(owner, "__name__", None) or str(owner)
        return self.error(node, f"`{title}` has no attribute `{name}`", help=hint)

    def wrap(self, node, value):
        """Turn a Python object, found under a name, into an expression."""
        if isinstance(value, TypeVar):
            value = self.bind(value)
        if isinstance(value, LazyType):
            value = resolve(value)
        if isinstance(value, TypedInt):
            return typed.Const(node, self.bind(value.type), int(value))
        if isinstance(value, bool):
            return typed.Const(node, BOOL, value)
        if isinstance(value, int):
            return typed.Const(node, UNTYPED, int(value))
        if value is None:
            return typed.Const(node, NULL, None)
        if isinstance(value, str):
            return typed.Text(node, TEXT, value.encode())
        if isinstance(value, (bytes, bytearray)):
            return typed.Text(node, TEXT, bytes(value))
        if isinstance(value, Static):
            self.instance.statics[value] = True
            return typed.StaticRef(node, resolve(value.declared), value)
        return typed.Meta(node, META, value)


def exposed_names(tree):
    """Every name whose address a function takes, by `ref(name)`."""
    calls = [n for n in ast.walk(tree) if isinstance(n, ast.Call) and len(n.args) == 1]
    return {
        call.args[0].id
        for call in calls
        if isinstance(call.args[0], ast.Name) and ast.unparse(call.func).split(".")[-1] == "ref"
    }


def assigned_names(statements):
    """Every name that a list of statements assigns."""
    found = set()
    for statement in statements:
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                found.add(node.id)
    return found
