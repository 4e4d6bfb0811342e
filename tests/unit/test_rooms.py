"""Imports between the rooms of the core run one way, in the order of kernel/__init__.py."""

import ast
from pathlib import Path

import kernel

ROOT = Path(__file__).parents[2]
TOP = {"kernel", "kernel.main", "kernel.handlers", "kernel.BUILD"}
ROOMS = [
    line.split()[0]
    for line in kernel.__doc__.splitlines()
    if line.split() and (ROOT / "kernel" / line.split()[0]).is_dir()
]

# (module, module from a room below): why
AGAINST_THE_ORDER = {
    ("kernel.base.spinlock", "kernel.x86.cpu"): "who waits for a lock pauses",
    ("kernel.base.spinlock", "kernel.x86.percpu"): "a lock knows which processor holds it",
    ("kernel.base.spinlock", "kernel.x86.ipi"): "who waits answers those that wait for it",
    ("kernel.state.frame_table", "kernel.x86.memlayout"): "the table has a place of its own",
    ("kernel.state.frame_table", "kernel.x86.bootmem"): "it is as large as the machine's memory",
    ("kernel.x86.ipi", "kernel.trace.wide"): "a TLB shootdown is recorded where it begins",
    ("kernel.console.input", "kernel.evtchn.virq"): "what is typed reaches domain 0 by its VIRQ",
    ("kernel.console.input", "kernel.panic.debug_keys"): "or is a key for the core itself",
    (
        "kernel.evtchn.channel",
        "kernel.sched.wake",
    ): "an event wakes; a timer and a poll know events",
    ("kernel.evtchn.bind", "kernel.sched.time"): "VIRQ_TIMER starts the timer that it waits for",
    ("kernel.evtchn.bind", "kernel.irq.irq"): "binding a physical interrupt takes it into service",
    ("kernel.evtchn.close", "kernel.irq.irq"): "closing its port ends that",
}


def module_name(path):
    """Return the dotted name of a file of the core."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def imports_of(path, modules):
    """Return (module, line) for each import of one of `modules`."""
    found = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules else node.module for name in names]
        else:
            continue
        found += [(name, node.lineno) for name in names if name in modules]
    return found


def read_imports():
    """Return {module: [(imported module, line)]} of the core."""
    paths = {module_name(path): path for path in (ROOT / "kernel").rglob("*.py")}
    return {name: imports_of(path, paths) for name, path in paths.items()}


def room_of(name):
    """Return a module's room, or None for what stands in no room."""
    return name.split(".")[1] if name.count(".") > 1 else None


def wrong_imports(imports):
    """Return {(module, imported): line} of the imports from a room below."""
    imported = {name for user in imports if user not in TOP for name, _ in imports[user]}
    wrong = {}
    for user in imported - TOP:
        for name, line in imports[user]:
            room = room_of(name)
            if room is None or ROOMS.index(room) > ROOMS.index(room_of(user)):
                wrong[user, name] = line
    return wrong


def test_every_folder_is_in_the_list():
    folders = {path.parent.name for path in (ROOT / "kernel").glob("*/__init__.py")}
    assert folders == set(ROOMS) and len(ROOMS) == len(folders)


def test_imports_run_one_way():
    new = {
        f"kernel{user.removeprefix('kernel').replace('.', '/')}.py:{line} imports {name}"
        for (user, name), line in wrong_imports(read_imports()).items()
        if (user, name) not in AGAINST_THE_ORDER
    }
    assert not new, "a room imports from one below it in kernel/__init__.py:\n" + "\n".join(new)


def test_every_exception_is_needed():
    assert set(AGAINST_THE_ORDER) - set(wrong_imports(read_imports())) == set()


def test_a_wrong_import_is_seen():
    """Only a module that somebody uses counts."""
    imports = {
        "kernel.base.ids": [("kernel.dom0.elf", 7)],
        "kernel.dom0.elf": [("kernel.base.ids", 1)],
        "kernel.sched.sched_op": [("kernel.dom0.elf", 1)],
        "kernel.handlers": [("kernel.sched.sched_op", 1)],
    }
    assert wrong_imports(imports) == {("kernel.base.ids", "kernel.dom0.elf"): 7}
