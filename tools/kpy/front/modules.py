"""Importing the modules of a program, and finding the functions in them."""

import difflib
import importlib
import os
import re
import sys
import traceback

from kpy.front import forward, later, source
from kpy.front.decorators import Static, traits_of
from kpy.front.diagnostics import Diagnostic, Refused, Reported
from kpy.front.forward import ROOT
from kpy.front.program import is_function
from kpy.front.structs import LayoutError, StructType

SEARCH = [ROOT, os.path.join(ROOT, "tools"), os.path.join(ROOT, "build", "gen")]


def name_of(path):
    """The module name of a file, by the innermost search path above it."""
    path = os.path.abspath(path)
    for base in sorted({*SEARCH, *map(os.path.abspath, sys.path)}, key=len, reverse=True):
        if path.startswith(base + os.sep):
            name = path[len(base) + 1 :].removesuffix(".py").replace(os.sep, ".")
            return name.removesuffix(".__init__")
    sys.path.append(os.path.dirname(path))
    return os.path.splitext(os.path.basename(path))[0]


def load(program, name):
    """Import a module; what goes wrong becomes an error at the line that did it."""
    for path in SEARCH:
        if path not in sys.path:
            sys.path.append(path)
    try:
        module = importlib.import_module(name)
        for broken, promise in forward.settle():
            program.diagnostics.add(_broken_promise(broken, promise))
        _report_claims(program)
        return module
    except LayoutError as error:
        program.layout_error(error)
        raise Reported from None
    except Exception as error:  # noqa: BLE001  anything may go wrong in the programmer's module
        program.diagnostics.add(_import_error(name, error))
        raise Reported from None


def _report_claims(program):
    """Report what was asked of sizes at import, and does not hold now that they are known."""
    for path, line, error in later.broken_claims():
        if isinstance(error, LayoutError):
            program.layout_error(error)
        else:
            end = len(source.line_of(path, line))
            program.diagnostics.add(Diagnostic(path, line, 0, end, str(error)))


def _broken_promise(module, promise):
    """The error of importing, from a module in the same cycle, what it turned out not to have."""
    line = 1
    with open(module.__file__, encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            if promise.name in text and "import" in text:
                line = number
                break
    end = len(source.line_of(module.__file__, line))
    message = f"`{promise.module}` has no `{promise.name}`"
    return Diagnostic(module.__file__, line, 0, end, message)


def _import_error(name, error):
    if isinstance(error, SyntaxError):
        column = max(0, (error.offset or 1) - 1)
        found = re.match("name capture '(.*)' makes", error.msg or "")
        advice = captures(found[1]) if found else ""
        where = (error.filename or name, error.lineno or 1, column, column + 1)
        return Diagnostic(*where, error.msg, help=advice)
    refused = isinstance(error, Refused)
    message = str(error) if refused else f"at import: {type(error).__name__}: {error}"
    if refused and error.function is not None:
        return _at_function(error, message)
    frames = [f for f in _frames(error) if _is_programmers(f[0].filename)]
    if not frames:
        return Diagnostic(name, 0, 0, 1, f"cannot import `{name}`: {type(error).__name__}: {error}")
    frame, names = frames[-1]
    start, end = frame.colno or 0, frame.end_colno or 0
    advice = error.help if refused else _did_you_mean(error, names)
    return Diagnostic(frame.filename, frame.lineno, start, end, message, help=advice)


def captures(name):
    """What to write instead of `case NAME:`, which Python reads as a variable for any value."""
    return (
        f"a constant is named with a dot: `import kernel.base.ids as ids`, `case ids.{name}:`, "
        f"or in a class of the module, `class Op:` with `{name} = …` and `case Op.{name}:`"
    )


def _frames(error):
    """The frames of a traceback, each with the global names there."""
    scopes = [frame.f_globals for frame, _ in traceback.walk_tb(error.__traceback__)]
    return list(zip(traceback.extract_tb(error.__traceback__), scopes, strict=True))


def _at_function(error, message):
    code = error.function.__code__
    tree = source.definition_of(error.function)
    line = tree.lineno if tree is not None else code.co_firstlineno
    end = len(source.line_of(code.co_filename, line))
    start = tree.col_offset if tree is not None else 0
    return Diagnostic(code.co_filename, line, start, end, message, help=error.help)


def _did_you_mean(error, names):
    """Advice for a name that a module does not have."""
    if not isinstance(error, NameError) or not error.name:
        return ""
    close = difflib.get_close_matches(error.name, names, 1, 0.7)
    return f"did you mean `{close[0]}`?" if close else ""


def _is_programmers(path):
    compiler = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    library = os.path.dirname(os.__file__)
    return (
        os.path.exists(path)
        and not path.startswith((compiler, library))
        and "site-packages" not in path
    )


def functions_of(module):
    """The Python functions that a module defines, methods and those made for it included."""
    found = {}
    for value in list(vars(module).values()):
        if is_function(value) and value.__module__ == module.__name__:
            found[value] = True
        elif isinstance(value, StructType) and value.module == module.__name__:
            found.update(dict.fromkeys(v for v in value.namespace.values() if is_function(v)))
    found.update(dict.fromkeys(vars(module).get("__kpy_made__", ())))
    return sorted(found, key=lambda f: f.__code__.co_firstlineno)


def statics_of(module):
    """The statics that a module makes."""
    return [s for s in vars(module).get("__kpy_statics__", []) if isinstance(s, Static)]


def declared_instances(program, module):
    """Declare every function of a module; return the instances of those that are not generic."""
    instances = []
    for python in functions_of(module):
        if traits_of(python).kind == "formatter":
            continue
        try:
            function = program.declare(python)
        except Reported:
            continue
        if function is not None and not function.variables:
            instances.append(program.instantiate(function, {}))
    return instances
