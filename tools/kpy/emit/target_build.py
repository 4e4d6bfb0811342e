"""Building a target: import, check, lower every module, compile those that changed, link.

The front end always looks at the whole program (it takes a second or two); an object is keyed by
the LLVM text of its module, so only what really changed goes through the optimiser. When no input
file changed at all, nothing is done.
"""

import concurrent.futures
import fcntl
import hashlib
import multiprocessing
import os
import sys
import time
from pathlib import Path

from kpy.check import checker, verify
from kpy.emit import backend, link, stack_use, symbols
from kpy.front import modules
from kpy.front.diagnostics import Reported
from kpy.front.modules import ROOT
from kpy.front.program import Program
from kpy.front.stamp import Stamp
from kpy.lower.unit import TRIPLE, Unit

OBJECTS = os.path.join(ROOT, "build", "obj")
WORKERS = 2
KEPT = 600  # seconds that an older object stays, for a build that runs beside this one


class Failed(Exception):
    """The build cannot go on; the text says why."""


def build(target):
    """Build one target; return a line that says what was done."""
    os.makedirs(OBJECTS, exist_ok=True)
    with open(os.path.join(OBJECTS, f"{target.name}.lock"), "w") as lock:
        fcntl.flock(
            lock, fcntl.LOCK_EX
        )  # a build that runs beside this one waits, and finds it done
        return _build(target)


def _build(target):
    started, stamp = time.time(), Stamp(OBJECTS, target)
    if stamp.is_current():
        return f"{target.name}: up to date"
    program = Program()
    pointers = stack_use.Pointers()
    units, exports, loaded = front_end(program, target, pointers)
    if len(program.diagnostics):
        count = len(program.diagnostics)
        raise Failed(f"{program.diagnostics.render()}\n\n{count} error{'s' if count > 1 else ''}")
    objects, compiled = _compile(units, target)
    try:
        link.link(target, objects, exports)
    except link.LinkError as error:
        raise Failed(str(error)) from None
    _check_stacks(target, pointers)
    stamp.write(loaded, started)
    return f"{target.name}: {compiled} of {len(objects)} files compiled; {link.sizes(target.elf)}"


def stack_report(target):
    """Where the report of a target's stacks stands, made by its build."""
    return os.path.join(OBJECTS, f"{target.name}.stacks.txt")


def _check_stacks(target, pointers):
    """Leave a report, and refuse a program whose worst path exceeds its stack."""
    measured, circles = stack_use.measure(target.elf, target.stacks, pointers)
    parts = [stack_use.render(stack, path) for stack, path in measured]
    parts += [f"left out: {caller} -> {callee}, back into a path" for caller, callee in circles]
    _write(stack_report(target), "\n\n".join([*parts, ""]).encode())
    if error := stack_use.too_deep(target, measured):
        for made in (target.elf, *([os.path.join(ROOT, target.flat)] if target.flat else [])):
            os.unlink(made)
        raise Failed(error)


def front_end(program, target, pointers):
    """Check what the roots import; return its units, exported symbols and source files.

    Takes down in `pointers` what is called through pointers, and what they may reach.
    """
    for root in target.roots:
        try:
            modules.load(program, root)
        except Reported:
            return [], [], []
    members = [m for m in list(sys.modules.values()) if _is_member(m)]
    members.sort(key=lambda module: module.__name__)
    instances = {m: modules.declared_instances(program, m) for m in members}
    everything = checker.check_all(program, [i for found in instances.values() for i in found])
    verify.recursion(program, everything)
    verify.symbols(program, everything)
    symbols.undefined(program, target, members, everything)
    if len(program.diagnostics):
        return [], [], []
    units = [_lower(program, module, instances[module], pointers) for module in members]
    if len(program.diagnostics):
        return [], [], []
    for instance in everything:
        pointers.note_body(instance)
    exports = {i.symbol for i in everything if i.function.traits.export}
    return [u for u in units if u], exports, [m.__file__ for m in members]


def _is_member(module):
    """Whether a module is part of the program: no tool, and no file of pytest's."""
    path = getattr(module, "__file__", None) or ""
    inside = path.startswith(ROOT + os.sep) and path.endswith(".py")
    outside = (f"{ROOT}/tools/", f"{ROOT}/build/venv/", f"{ROOT}/tests/")
    return inside and (not path.startswith(outside) or path.startswith(f"{ROOT}/tests/guests/"))


def _lower(program, module, instances, pointers):
    """The unit of a module as (name, text), or None where there is nothing to compile."""
    unit = Unit(program, module.__name__)
    for instance in instances:
        if instance.shared and instance.function.traits.kind == "plain":
            unit.function(instance)
    for static in modules.statics_of(module):
        unit.static(static)
    if not unit.known and not unit.statics:
        return None
    text = unit.finish()
    for instance in unit.addressed:
        pointers.note_address(instance)
    return module.__name__, text


def _compile(units, target):
    """Make all objects, in parallel; return their paths and how many were compiled."""
    objects, compiled = [], 0
    context = multiprocessing.get_context("fork")
    with concurrent.futures.ProcessPoolExecutor(WORKERS, context) as pool:
        jobs = []
        for source in target.assembly:
            path = os.path.join(OBJECTS, source.removesuffix(".asm").replace("/", ".") + ".asm.o")
            objects.append(path)
            jobs.append((source, pool.submit(assemble, os.path.join(ROOT, source), path)))
        for name, text in sorted(units, key=lambda unit: -len(unit[1])):
            path = object_path(name, text)
            objects.append(path)
            if not os.path.exists(path):
                jobs.append((name, pool.submit(compile_unit, name, text, path)))
                compiled += 1
        for name, job in jobs:
            try:
                job.result()
            except Exception as error:
                raise Failed(f"{name}: {error}") from None
    return objects, compiled


def object_path(name, text):
    key = hashlib.sha256((backend.fingerprint() + text).encode()).hexdigest()[:16]
    return os.path.join(OBJECTS, f"{name}.{key}.o")


def compile_unit(name, text, path):
    """Compile one module (in a worker), and drop its older objects."""
    try:
        data = backend.compile_object(text, TRIPLE)
    except RuntimeError as error:
        kept = os.path.join(OBJECTS, f"{name}.ll")
        with open(kept, "w", encoding="utf-8") as file:
            file.write(text)
        raise RuntimeError(
            f"LLVM refused what kpy made, a bug of kpy; see {kept}: {error}"
        ) from None
    prefix = f"{name}."
    for old in os.listdir(OBJECTS):
        stale = os.path.join(OBJECTS, old)
        if (
            old.startswith(prefix)
            and len(old) == len(prefix) + 18
            and os.path.getmtime(stale) < time.time() - KEPT
        ):
            os.unlink(stale)
    _write(path, data)


def assemble(source, path):
    from asm.assembler import assemble_file
    from asm.errors import AsmError

    try:
        _write(path, assemble_file(Path(source)))
    except AsmError as error:
        raise RuntimeError(str(error)) from None


def _write(path, data):
    temporary = f"{path}.{os.getpid()}"
    with open(temporary, "wb") as file:
        file.write(data)
    os.replace(temporary, path)
