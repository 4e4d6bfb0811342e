"""Building: objects by content, targets, the symbol table, link errors."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from kpy.emit import target_build as builder
from kpy.front.modules import ROOT
from kpy.front.target import Target

MAIN = """from kpy import *
from kpybuild_{n}.other import twice
table = static(Array[Fn[[u64], u64] | None, 2], {{1: twice}})
@export("_start")
def start() -> Never:
    while True:
        handler = table[twice(0) + 1]
        if handler is not None:
            handler(1)
@export
def kpy_panic(file: Slice[u8], line: u32, text: Slice[u8]) -> Never:
    while True:
        pass
"""
OTHER = """from kpy import *
@noinline
def twice(x: u64) -> u64:
    return x * 2
def unused(x: u64) -> u64:
    return x + 12345
"""
SCRIPT = """
SECTIONS
{
    . = 0x400000;
    .text : { *(.text .text.*) }
    .rodata : { *(.rodata .rodata.*) KEEP(*(.symbol_table)) }
    .data : { *(.data .data.*) }
    .bss : { *(.bss .bss.*) }
}
"""
_numbers = iter(range(1000))


@pytest.fixture
def project(monkeypatch):
    """A package of two modules below build/, as a target."""
    number = f"{os.getpid()}_{next(_numbers)}"
    folder = builder.Path(ROOT, "build", f"kpybuild_{number}")
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "main.py").write_text(MAIN.format(n=number))
    (folder / "other.py").write_text(OTHER)
    (folder / "script.lds").write_text(SCRIPT)
    monkeypatch.syspath_prepend(str(folder.parent))
    monkeypatch.setattr(builder, "OBJECTS", str(folder / "obj"))
    name = folder.name
    target = Target([f"{name}.main"], f"build/{name}/script.lds", name=name)
    yield folder, target
    for loaded in [m for m in sys.modules if m.startswith(name)]:
        del sys.modules[loaded]
    shutil.rmtree(folder)
    builder.Path(target.elf).unlink(missing_ok=True)
    for left in builder.Path(ROOT, "build", "obj").glob(f"{name}.symbols.o"):
        left.unlink()


def compile_again(folder, target):
    for loaded in [m for m in sys.modules if m.startswith(folder.name)]:
        del sys.modules[loaded]
    from kpy.front import source

    source.load.cache_clear()
    return builder.build(target)


def settle(folder):
    """Make every file look older than the next build."""
    for path in folder.iterdir():
        os.utime(path, (1, 1))


def only(folder, monkeypatch):
    """Leave other tests' modules out of the program."""
    inside = lambda m: (getattr(m, "__file__", "") or "").startswith(str(folder))  # noqa: E731
    monkeypatch.setattr(builder, "_is_member", inside)


def test_only_what_changed_is_compiled(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    assert ": 2 of 2 files compiled" in builder.build(target)
    settle(folder)
    builder.build(target)
    assert "up to date" in builder.build(target)
    inputs = json.loads(Path(builder.OBJECTS, f"{target.name}.stamp").read_text())["inputs"]
    assert not any(map(os.path.isabs, inputs)), "a copy of the tree would look at this one's files"
    other = folder / "other.py"
    other.write_text(OTHER.replace("12345", "54321"))
    assert ": 1 of 2 files compiled" in compile_again(folder, target)
    other.write_text(OTHER.replace("x * 2", "x * 3"))
    assert ": 1 of 2 files compiled" in compile_again(folder, target)
    symbols = subprocess.run(["nm", target.elf], capture_output=True, text=True).stdout
    assert f"T {folder.name}.other.twice" in symbols
    assert "unused" not in symbols


def test_symbol_table_and_flat_image(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    seen = []

    def make_table(functions, rows):
        seen.append((functions, rows))
        return b"SYMS%d" % len(functions)

    target.symbol_table, target.flat = make_table, f"build/{folder.name}/program.bin"
    builder.build(target)
    functions, rows = seen[-1]
    addresses = dict(functions)
    assert {"_start", "kpy_panic"} <= set(addresses.values())
    assert list(addresses) == sorted(addresses)
    lines = {frames[-1] for own in rows.values() for _, frames in own}
    assert any(name == "twice" and file.endswith("other.py") for name, file, _ in lines)
    assert b"SYMS%d" % len(functions) in (folder / "program.bin").read_bytes()


def test_errors_end_the_build(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    (folder / "other.py").write_text(OTHER + "def bad(x: u32) -> u64:\n    return x\n")
    with pytest.raises(builder.Failed, match="expected `u64` .the result type., found `u32`"):
        builder.build(target)


def test_undefined_symbols_are_the_linkers_words(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    stub = "@extern\ndef missing_stub() -> None: ...\n"
    more = f'{stub}@export("root")\ndef root() -> None:\n    missing_stub()\n'
    (folder / "other.py").write_text(OTHER + more)
    with pytest.raises(builder.Failed, match="undefined reference to `missing_stub'"):
        builder.build(target)


def test_command_line():
    environment = os.environ | {"PYTHONPATH": f"{ROOT}:{ROOT}/tools:{ROOT}/build/gen"}

    def kpy(*words):
        command = [sys.executable, "-m", "kpy", *words]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, env=environment)

    unknown = kpy("build", "no-such-target")
    assert unknown.returncode == 2
    assert "no target `no-such-target`; there are" in unknown.stderr
    checked = kpy("check", "libos/text.py")
    assert checked.returncode == 0, checked.stdout
    assert checked.stdout.startswith("ok: ")
    for stage, expected in (
        ("ast", "FunctionDef"),
        ("typed", "# line"),
        ("llvm", "define"),
        ("asm", "ret"),
    ):
        assert expected in kpy("dump", f"--stage={stage}", "libos/text.py").stdout
