"""The decorators of functions, and `static`.

A decorator only leaves a note on the Python function (`__kpy__`); the function itself stays what
CPython made, so that tables, other decorators and initial values can hold it.
"""

import sys
from dataclasses import dataclass

from kpy.front.annotations import as_type
from kpy.front.diagnostics import Refused
from kpy.front.types import PythonFunction

FORMATTER = "`@formatter(write_str, write_int, end)`"


@dataclass
class Traits:
    """How a function is to be compiled."""

    kind: str = "plain"  # plain, extern, asm, formatter or build_time
    inline: str = ""  # "", always or never
    cold: bool = False
    export: bool = False
    symbol: str | None = None
    template: str = ""
    constraints: str = ""
    sideeffect: bool = True
    parts: tuple = ()
    gives_back: object = None  # the function that takes back what this one returns


def traits_of(function):
    """Return the traits of a function; a plain `def` gets the default ones."""
    traits = function.__dict__.get("__kpy__")
    if traits is None:
        traits = function.__kpy__ = Traits()
    return traits


def _mark(function, **changes):
    if not isinstance(function, PythonFunction):
        raise Refused(
            f"a decorator of functions got `{getattr(function, '__name__', function)}`",
            "it stands above a `def`, without brackets, as in `@inline`",
        )
    traits = traits_of(function)
    for name, value in changes.items():
        setattr(traits, name, value)
    return function


def inline(function=None):
    """Always inline the function, also into other modules."""
    return _mark(function, inline="always")


def noinline(function=None):
    """Never inline the function."""
    return _mark(function, inline="never")


def cold(function=None):
    """Never inline the function, and move it out of the hot path."""
    return _mark(function, inline="never", cold=True)


def _named(symbol, **changes):
    if isinstance(symbol, str):
        return lambda function: _mark(function, symbol=symbol, **changes)
    return _mark(symbol, symbol=getattr(symbol, "__name__", None), **changes)


def export(symbol=None):
    """Give the function a C symbol: `@export` or `@export("symbol")`."""
    return _named(symbol, export=True)


def extern(symbol=None):
    """Declare a function that assembly or the linker script defines."""
    return _named(symbol, kind="extern")


def asm(template, constraints="", sideeffect=True):
    """Make the function inline assembly: Intel syntax, `$0` is the result."""
    if not isinstance(template, str):
        raise Refused("`@asm` takes the instructions as text", '`@asm("hlt")`')
    return lambda function: _mark(
        function,
        kind="asm",
        inline="always",
        template=template,
        constraints=constraints,
        sideeffect=sideeffect,
    )


def formatter(write_str, write_int=None, end=None):
    """Make a function that takes one f-string, and compiles to calls of these three."""
    if write_int is None:
        raise Refused("`@formatter` takes the functions that print", FORMATTER)
    return lambda function: _mark(function, kind="formatter", parts=(write_str, write_int, end))


def gives_back(put):
    """Let `with f(…) as x:` call `put(x)` on every way out."""
    return lambda function: _mark(function, gives_back=put)


def stands_before(function):
    """Compile what a build-time function made, a caller of `function`, as if it stood beside that.

    `function` becomes part of it.
    """

    def decorate(made):
        made.__module__ = function.__module__
        made.__wrapped__ = function
        made.__qualname__ = f"{function.__qualname__}.{made.__name__}"
        sys.modules[made.__module__].__dict__.setdefault("__kpy_made__", []).append(made)
        inline(function)
        return made

    return decorate


def build_time(function=None):
    """Mark plain Python that is never compiled."""
    return _mark(function, kind="build_time")


class Static:
    """Memory that lives as long as the program."""

    def __init__(self, type_, initial, scope, section, symbol, extern):
        self.declared, self.initial, self.scope = type_, initial, scope
        self.module, self.section, self.extern = scope["__name__"], section, extern
        self._symbol = symbol

    @property
    def name(self):
        """The module-level name that holds this static."""
        for name, value in self.scope.items():
            if value is self:
                return name
        return f"static.{self.scope.setdefault('__kpy_statics__', []).index(self)}"

    @property
    def symbol(self):
        if self._symbol is None:
            self._symbol = f"{self.module}.{self.name}"
        return self._symbol

    def __len__(self):
        return self.declared.count


def static(type_=None, initial=None, *, section=None, symbol=None, extern=False):
    """Reserve memory for one `type_`, zero unless an initial value is given."""
    if type_ is None:
        raise Refused("a static has a type", "`static(u64)`, `static(u64, 5)`")
    scope = sys._getframe(1).f_globals
    made = Static(as_type(type_, scope), initial, scope, section, symbol, extern)
    scope.setdefault("__kpy_statics__", []).append(made)
    return made
