"""What the mutation check covers: the modules of the core, and the tests that may kill.

In scope is what a guest can reach; left out what cannot run in process, or is done before guests.
"""

import ast
import os
from pathlib import Path

from kpy import jit
from kpy.front import modules
from kpy.front.program import Program
from kpy.lower.mutants import Check, Mutants
from kpy.lower.unit import Unit

from tools.setup.paths import ROOT

# Module or package -> why its checks are not counted.
OUTSIDE = {
    "kernel.x86": "the processor and its board, which a test replaces",
    "kernel.main": "boot: no guest yet",
    "kernel.dom0.construct": "boot: input from whoever starts the machine",
    "kernel.dom0.layout": "boot",
    "kernel.dom0.memory": "boot",
    "kernel.dom0.tables": "boot",
    "kernel.dom0.elf": "boot: domain 0's own image",
    "kernel.dom0.screen_info": "boot",
    "kernel.base.cmdline": "boot: the core's command line",
    "kernel.console.console": "the core's own output",
    "kernel.console.uart": "the core's own output",
    "kernel.console.screen": "the core's own output",
    "kernel.panic.panic": "the end of everything",
    "kernel.panic.backtrace": "the report of a crash",
    "kernel.panic.cpu_state": "the report of a crash",
    "kernel.panic.crash_report": "the report of a crash",
    "kernel.panic.symbols": "the report of a crash",
    "kernel.panic.registers": "the report of a crash",
    "kernel.panic.debug_keys": "reports for people, which only domain 0 may ask for",
    "kernel.panic.cpu_watchdog": "a report for people",
    "kernel.console.input": "the core's own input",
    "kernel.base.registry": "build-time Python",
    "kernel.BUILD": "build-time Python",
}

# Cheapest first: a check is given to the next file only if it outlived those before.
TESTS = ("tests/model/test_errors_*.py", "tests/unit/test_*.py", "tests/model/test_*.py")
# Not asked: a minute for each check, and what they notice is a panic, not a refusal.
TOO_LONG = ("tests/model/test_boundaries.py",)


def is_inside(module: str) -> bool:
    """Tell whether the checks of a module count."""
    return not any(module == name or module.startswith(f"{name}.") for name in OUTSIDE)


def core_modules() -> list[str]:
    """Return the names of the core's modules in scope."""
    names = []
    for path in sorted((ROOT / "kernel").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        if path.stem != "__init__" and is_inside(name):
            names.append(name)
    return names


def census() -> list[Check]:
    """Return every check in scope in the order of the source; nothing is compiled."""
    program = Program()
    mutants = Mutants(program, ["kernel"])
    unit = Unit(program, "kernel", jit.HOST_TRIPLE, whole=True, mutants=mutants)
    for name in core_modules():
        for instance in modules.declared_instances(program, modules.load(program, name)):
            unit.function(instance)
    unit.finish()
    found = [check for check in mutants.checks if is_inside(check.module)]
    return sorted(found, key=lambda check: (check.file, check.line, check.number))


def test_files(patterns: tuple[str, ...] | list[str] = TESTS) -> list[str]:
    """Return the files with in-process tests, those that load compiled code, cheapest first."""
    found: dict[str, None] = {}
    for pattern in patterns:
        for path in sorted(ROOT.glob(pattern)):
            name = os.path.relpath(path, ROOT)
            if name not in TOO_LONG and loads_code(path):
                found[name] = None
    return list(found)


def loads_code(path: Path) -> bool:
    """Tell whether a test file imports the core or a machine made of it."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
    return any(n == "kpy.jit" or "machine" in n or n.startswith("tests.model") for n in names)
