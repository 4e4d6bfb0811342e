"""Sizes that are asked for at import, while a circle of imports has not defined all types yet.

`assert sizeof(Domain) <= 4096` where a field of `Domain` is a struct of a module that is only half
imported: the size is a `Later`, what is asked of it a *claim*, taken to hold, and looked at again
when all modules are imported.
"""

import operator
import sys


class NotYet(ImportError):
    """The size of a type that its module has not defined yet."""


class Later:
    """A number, or a comparison of such, that is computed when all modules are imported."""

    def __init__(self, compute, why):
        self.compute, self.why = compute, why

    def __bool__(self):
        frame = sys._getframe(1)
        claims.append((self, frame.f_code.co_filename, frame.f_lineno))
        return True

    def __index__(self):
        raise NotYet(self.why)

    __int__ = __index__


def _operation(function, mirrored=False):
    def combine(self, other):
        def compute():
            mine, theirs = self.compute(), other.compute() if isinstance(other, Later) else other
            return function(theirs, mine) if mirrored else function(mine, theirs)

        return Later(compute, self.why)

    return combine


for _name in ("eq", "ne", "lt", "le", "gt", "ge"):
    setattr(Later, f"__{_name}__", _operation(getattr(operator, _name)))
for _name in ("add", "sub", "mul", "floordiv", "mod"):
    setattr(Later, f"__{_name}__", _operation(getattr(operator, _name)))
    setattr(Later, f"__r{_name}__", _operation(getattr(operator, _name), mirrored=True))

claims: list = []


def soon(measure):
    """Let a measure of types give a `Later` where it cannot know yet."""

    def ask(*arguments):
        try:
            return measure(*arguments)
        except NotYet as error:
            return Later(lambda: measure(*arguments), str(error))

    return ask


def broken_claims():
    """Look at all claims again; return (file, line, error) of those that do not hold."""
    pending, broken = claims[:], []
    claims.clear()
    for claim, path, line in pending:
        try:
            if not claim.compute():
                raise AssertionError("this does not hold, now that all modules are imported")
        except Exception as error:  # noqa: BLE001  whatever the annotations of a struct raise
            broken.append((path, line, error))
    return broken
