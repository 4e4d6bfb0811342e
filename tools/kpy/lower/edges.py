"""Counters of edges: how often each way out of a branch was taken, for a fuzzer to see what is new.

    program = kpy.jit.load("kernel.main", edges=("kernel",))
    program.edges[7]            # where it is, as people read it
    program.edge_counts[7]      # how often it was taken; 255: that or more

An edge is the entry of a function, either way out of a condition (each operand of `and` and `or` is
one), or an arm of a `match`. Ways into a panic are not counted: whoever takes one hears of it.
"""

import os
from dataclasses import dataclass

from kpy.front.forward import ROOT

COUNTS = '@"kpy.edges"'
ADD = "llvm.uadd.sat.i8"


@dataclass(frozen=True)
class Edge:
    """One counted edge: `way` is `enter`, `true`, `false`, or an arm of a `match`."""

    number: int
    module: str
    file: str
    line: int
    function: str
    way: str

    def __str__(self):
        return f"{self.file}:{self.line} {self.function}: {self.way}"


class Edges:
    """The edges that a compilation has met: those of modules whose names begin so."""

    def __init__(self, modules):
        self.modules = tuple(modules)
        self.edges = []

    def covers(self, instance):
        """Whether a function's edges are counted."""
        name = instance.function.module
        return any(name == m or name.startswith(f"{m}.") for m in self.modules)

    def count(self, f, way):
        """Count a way at the present place of a function."""
        number, function = len(self.edges), f.instance.function
        file = os.path.relpath(function.path, ROOT)
        self.edges.append(
            Edge(number, function.module, file, f.node.lineno, function.name, str(way))
        )
        f.unit.declare(ADD, f"declare i8 @{ADD}(i8, i8)")
        at = f.emit(f"getelementptr i8, ptr {COUNTS}, i64 {number}")
        before = f.emit(f"load i8, ptr {at}, align 1")
        after = f.emit(f"call i8 @{ADD}(i8 {before}, i8 1)")
        f.line(f"store i8 {after}, ptr {at}, align 1")

    def define(self):
        """The memory of the counters."""
        return f"{COUNTS} = global [{len(self.edges) or 1} x i8] zeroinitializer, align 8"
