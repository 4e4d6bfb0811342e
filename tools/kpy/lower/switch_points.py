"""Places where another processor may come in between: a call before each access to shared memory.

Compiled for a model of several processors, each atomic operation and each load and store of memory
that is no local variable first asks whether anybody watches, and if so calls a hook:

    points = SwitchPoints("tests.model.turns.before_access", ("kernel",))
    program = kpy.jit.load("kernel.main", switch_points=points)
    program["kpy.lower.switch_flag.is_watched"].value = 1
    points.sites[site]  # the access: file, line, function, kind, size

    def before_access(site: u32, address: u64) -> None: ...

While nobody watches, an access costs one test more. An access that changes memory in two steps
(`x += 1`, a copy) is as many accesses. What the hook does happens before the access, at a moment
when all accesses before it have been done: processors of the model see each other's stores in
order.
"""

import os
from dataclasses import dataclass

from kpy.check import typed
from kpy.front.forward import ROOT
from kpy.front.structs import size_of
from kpy.front.types import SliceType
from kpy.lower import switch_flag

LOAD, STORE, ATOMIC = "load", "store", "atomic"


@dataclass(frozen=True)
class Site:
    """One access in the source."""

    file: str
    line: int
    function: str
    kind: str  # LOAD, STORE, ATOMIC
    size: int  # bytes

    def __str__(self):
        return f"{self.file}:{self.line} ({self.kind} in {self.function})"


class SwitchPoints:
    """Which modules get calls, of which hook, and the sites that were met."""

    def __init__(self, hook, modules):
        self.hook, self.modules = hook, tuple(modules)
        self.sites, self.numbers = [], {}

    def covers(self, instance):
        """Whether the accesses of a function are watched."""
        name = instance.function.module
        return any(name == m or name.startswith(f"{m}.") for m in self.modules)

    def number_of(self, instance, node, kind, size):
        """The number of a site; instances of a generic function share theirs."""
        function = instance.function
        site = Site(os.path.relpath(function.path, ROOT), node.lineno, function.name, kind, size)
        key = (site, node.col_offset)
        if key not in self.numbers:
            self.numbers[key] = len(self.sites)
            self.sites.append(site)
        return self.numbers[key]


def before_access(f, address, kind, type_, node=None):
    """Lower the call before an access of the function under construction to a value of a type."""
    points = f.unit.switch_points
    if points is None or not points.covers(f.instance):
        return
    number = points.number_of(f.instance, node or f.node, kind, size_of(type_))
    flag = f.unit.static(switch_flag.is_watched)
    watched, go = f.name("watched"), f.name("go")
    value = f.emit(f"load i32, ptr {flag}, align 4")
    f.branch(f.emit(f"icmp ne i32 {value}, 0"), watched, go)
    f.label(watched)
    where = f.emit(f"ptrtoint ptr {address} to i64")
    f.line(f"call void {f.unit.function(points.instance)}(i32 {number}, i64 {where})")
    f.label(go)


def is_shared(expr):
    """Whether a place may be memory that other processors see: all but local variables."""
    match expr:
        case typed.StaticRef() | typed.Deref():
            return True
        case typed.ElementOf() if isinstance(expr.base.type, SliceType):
            return True
        case typed.FieldOf() | typed.ElementOf():
            return is_shared(expr.base)
    return False
