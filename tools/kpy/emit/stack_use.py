"""How deep each stack of a program gets: there is no recursion, so the worst path is known.

The depths come from the linked code (kpy.emit.stack_code). A call through a pointer may reach every
function of that type whose address some part of the program takes. A check that fails calls
`kpy_panic` from any depth, and a report that fails itself is cut short, so it counts once.
"""

import os
from dataclasses import dataclass, field, fields, is_dataclass

from dwarf.source import SourceMap

from kpy.check import typed
from kpy.emit import stack_code
from kpy.emit.stack_code import PANIC
from kpy.front.modules import ROOT
from kpy.front.types import FnType, intern, non_null

HARDWARE_FRAME = 64  # what an exception or a hypervisor pushes, and aligns
SKIPPED = ("at", "type", "var", "instance", "static", "field")
SHOWN = 24  # functions of a path


@dataclass
class Pointers:
    """What the front end knows of calls through pointers."""

    calls: dict = field(default_factory=dict)  # (file, line) -> types called there
    addressed: dict = field(default_factory=dict)  # type -> symbols of that type with an address

    def note_body(self, instance):
        """Take down the calls through pointers in a checked body."""
        file = os.path.relpath(instance.function.path, ROOT)
        for node in _walk(instance.body):
            if isinstance(node, typed.CallPointer):
                here = self.calls.setdefault((file, node.at.lineno), set())
                here.add(non_null(node.pointer.type))

    def note_address(self, instance):
        """Take down that a function's address is taken."""
        params = tuple(type_ for _, type_ in instance.params)
        type_ = intern(FnType, params, instance.result, False)
        self.addressed.setdefault(type_, set()).add(instance.symbol)


def _walk(node):
    if isinstance(node, (list, tuple)):
        for item in node:
            yield from _walk(item)
    elif isinstance(node, dict):
        yield from _walk(list(node.values()))
    elif is_dataclass(node) and not isinstance(node, type):
        yield node
        for item in fields(node):
            if item.name not in SKIPPED:
                yield from _walk(getattr(node, item.name))


@dataclass
class Path:
    """The worst way down from a function: the bytes of each one on it."""

    bytes: int
    steps: list  # (function, bytes)


class Program:
    """The functions of a linked program, and the worst path from each."""

    def __init__(self, elf, pointers):
        self.found, self.at = stack_code.read(elf)
        self.named = {code.name: code for code in self.found.values()}
        self.elf, self.pointers = elf, pointers
        self.source = None
        self.worst, self.open = {}, []
        self.circles = set()  # (caller, callee): a pointer may lead back; taken not to happen
        self.panic = None
        if PANIC in self.named:
            self.panic = Path(0, [])
            deepest = self.path(self.named[PANIC], again=True)
            self.worst = {self.named[PANIC].address: deepest}

    def path(self, code, again=False):
        """The worst path from a function; a panic within a panic is none of it."""
        if code.address in self.worst:
            return self.worst[code.address]
        if code.name == PANIC and not again:
            return Path(0, [])
        if code.address in self.open:
            self.circles.add((self.at(self.open[-1]).name, code.name))
            return Path(0, [])
        self.open.append(code.address)
        best = Path(code.depth, [(code.name, code.depth)])
        for depth, callee in self._callees(code):
            below = self.path(callee)
            if depth + below.bytes > best.bytes:
                best = Path(depth + below.bytes, [(code.name, depth), *below.steps])
        self.open.pop()
        self.worst[code.address] = best
        return best

    def _callees(self, code):
        for depth, address in code.calls:
            callee = self.at(address)
            if callee is not None and callee is not code:
                yield depth, callee
        for depth, address in code.by_pointer:
            for symbol in sorted(self._targets(address)):
                if symbol in self.named:
                    yield depth, self.named[symbol]

    def _targets(self, address):
        """The functions that a call through a pointer may reach."""
        self.source = self.source or SourceMap(self.elf, ROOT)
        found = set()
        for frame in self.source.find(address):
            for type_ in self.pointers.calls.get((frame.file, frame.line), ()):
                found |= self.pointers.addressed.get(type_, set())
        return found

    def deepest(self, symbols):
        """The worst of the paths from functions."""
        paths = [self.path(self.named[name]) for name in symbols if name in self.named]
        return max(paths, key=lambda path: path.bytes, default=Path(0, []))


def measure(elf, stacks, pointers):
    """The worst path of each stack, and the calls by pointers that would lead back into a path.

    What interrupts a stack's own path comes below it.
    """
    program, found = Program(elf, pointers), []
    for stack in stacks:
        path, top = program.deepest(stack.roots), program.deepest(stack.on_top)
        if top.bytes:
            step = ("(an exception's frame)", HARDWARE_FRAME)
            path = Path(path.bytes + HARDWARE_FRAME + top.bytes, [*path.steps, step, *top.steps])
        found.append((stack, path))
    return found, sorted(program.circles)


def render(stack, path):
    """A stack and its worst path, as text."""
    lines = [f"{stack.name}: {path.bytes:,} of {stack.size:,} bytes"]
    lines += [f"  {count:>6}  {name}" for name, count in path.steps if count or path.bytes == 0]
    return "\n".join(lines)


def too_deep(target, measured):
    """The error for the stacks that are too small, or an empty text."""
    return "\n".join(
        f"error: the {stack.name} of `{target.name}` may overflow: its worst path takes "
        f"{path.bytes:,} bytes, it has {stack.size:,}\n{render(stack, path)}\n"
        "  help: make locals smaller or static, or the path shorter; `python -m kpy stack "
        f"{target.name}` shows it"
        for stack, path in measured
        if path.bytes > stack.size
    )
