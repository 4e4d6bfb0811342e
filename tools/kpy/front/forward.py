"""Import cycles. `from kernel.sched.schedule import wake` works even while `kernel.sched.schedule`
is still being imported.

A kernel calls in circles (the scheduler frees domains, domains wake vCPUs), and names in bodies are
looked up only when all modules are there. So a name that a half-imported module does not have yet
is imported as a `Forward`, a promise that `settle` replaces by the real thing. Types keep the
promise too: `Ptr[Forward]` is resolved late. Only what Python itself needs at once, such as a
decorator or a base of arithmetic, cannot come from a module in the same cycle.
"""

import importlib.machinery
import os
import sys
import types

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", "..", ".."))
OUTSIDE = (f"{ROOT}/tools/", f"{ROOT}/build/venv/", os.path.dirname(os.__file__) + os.sep)


def is_program(path):
    """Whether a source file may be kernel Python: it is no tool and no library."""
    return path.endswith(".py") and not path.startswith(OUTSIDE) and "site-packages" not in path


class Forward:
    """A name of a module that is still being imported."""

    def __init__(self, module, name):
        self.module, self.name = module, name

    def __repr__(self):
        return f"`{self.module}.{self.name}` (not there yet: the modules import each other)"

    def __call__(self, *arguments):
        raise TypeError(f"{self!r} cannot be called at import")

    def __or__(self, other):
        raise TypeError(f"{self!r} cannot be used at import")

    def __bool__(self):
        raise TypeError(f"{self!r} cannot be used at import")

    def find(self):
        return getattr(sys.modules[self.module], self.name)


class KernelModule(types.ModuleType):
    """A module that promises what it does not have yet."""

    def __getattr__(self, name):
        if not name.startswith("__") and getattr(self.__spec__, "_initializing", False):
            return Forward(self.__name__, name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


class Loader(importlib.machinery.SourceFileLoader):
    """Loads the modules of the repository as `KernelModule`."""

    def exec_module(self, module):
        module.__class__ = KernelModule
        super().exec_module(module)
        _evaluate_annotations(module)


def _evaluate_annotations(module):
    """Have the annotations of a module's functions now: Python 3.14 would wait until somebody asks,
    and a mistake in one would show there.
    """
    for value in list(vars(module).values()):
        if isinstance(value, types.FunctionType) and value.__module__ == module.__name__:
            value.__annotations__  # noqa: B018


class Finder(importlib.machinery.PathFinder):
    """Finds the modules that may be kernel Python."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        spec = super().find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not importlib.machinery.SourceFileLoader:
            return None
        if not is_program(spec.origin):
            return None
        spec.loader = Loader(fullname, spec.origin)
        return spec


def install():
    """Let imports from now on, and those under way, make promises."""
    if Finder not in sys.meta_path:
        sys.meta_path.insert(0, Finder)
    for module in list(sys.modules.values()):
        origin = getattr(getattr(module, "__spec__", None), "origin", None) or ""
        under_way = getattr(getattr(module, "__spec__", None), "_initializing", False)
        if under_way and type(module) is types.ModuleType and is_program(origin):
            module.__class__ = KernelModule


def settle():
    """Replace every promise by what it stands for; return those that were not kept, as (module,
    promise).

    A promise of a module that failed to import is left alone: that failure has been reported.
    """
    broken = []
    for module in list(sys.modules.values()):
        if not isinstance(module, KernelModule) or getattr(module.__spec__, "_initializing", False):
            continue
        for name, value in list(vars(module).items()):
            if isinstance(value, Forward):
                try:
                    setattr(module, name, value.find())
                except AttributeError:
                    broken.append((module, value))
                except KeyError:
                    continue
    return broken
