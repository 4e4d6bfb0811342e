"""Building: objects by content, targets, the symbol table, link errors."""

import contextlib
import io
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from dwarf.image import Image
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
def kpy_panic(site: Ptr[u8], first: u64, second: u64) -> Never:
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
    assert "tools/kpy/check/assign.py" in inputs, "a change of the compiler builds anew"
    other = folder / "other.py"
    other.write_text(OTHER.replace("12345", "54321"))
    assert ": 1 of 2 files compiled" in compile_again(folder, target)
    other.write_text(OTHER.replace("x * 2", "x * 3"))
    assert ": 1 of 2 files compiled" in compile_again(folder, target)
    symbols = {function.name for function in Image(target.elf).functions()}
    assert f"{folder.name}.other.twice" in symbols
    assert not any("unused" in name for name in symbols)


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


def failure(target):
    with pytest.raises(builder.Failed) as caught:
        builder.build(target)
    return str(caught.value)


def test_an_extern_that_nothing_defines_is_found_before_ld(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    stub = "@extern\ndef missing_stub() -> None: ...\nmissing = static(u8, extern=True)\n"
    body = "    missing_stub()\n    store(ref(missing), 1)\n"
    more = f'{stub}@export("root")\ndef root() -> None:\n{body}'
    (folder / "other.py").write_text(OTHER + more)
    shown = failure(target)
    assert f"build/{folder.name}/other.py:8:5: error: no part of `{folder.name}` defines" in shown
    assert f"defines `{folder.name}.other.missing`" in shown
    assert f"`@export` a function of that name in a module of `{folder.name}`" in shown
    assert shown.endswith("2 errors")


def test_a_function_that_only_lacks_its_export_is_named(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    lacking = MAIN.replace('@export("_start")', "").replace("def start", "def begin")
    (folder / "main.py").write_text(lacking.format(n=folder.name.removeprefix("kpybuild_")))
    (folder / "script.lds").write_text("ENTRY(begin)" + SCRIPT)
    shown = failure(target)
    assert "main.py:5:5: error: `begin` is needed by" in shown
    assert "script.lds:1, but it is no symbol of" in shown
    assert "help: write `@export` above it" in shown
    assert shown.endswith("1 error")


def test_what_assembly_and_linker_script_need_is_found_before_ld(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    (folder / "stub.asm").write_text(
        ".global stub\n.extern kpy_panic, stat, _start\nstub:\n    nop\n    call stat\n"
    )
    target.assembly = [f"build/{folder.name}/stub.asm"]
    (folder / "script.lds").write_text(
        SCRIPT.replace(".rodata :", "end = stub + nowhere;\n    .rodata :")
    )
    shown = failure(target)
    assert "stub.asm:5:10: error: no part of" in shown
    assert "defines `stat`" in shown
    assert "did you mean `_start`?" in shown or "did you mean `stub`?" in shown
    assert "defines `nowhere`" in shown
    assert shown.endswith("2 errors")


def test_a_program_without_a_panic_handler_is_told_so(project, monkeypatch):
    folder, target = project
    only(folder, monkeypatch)
    lacking = MAIN.replace("def kpy_panic", "def panicked").replace("@export\n", "")
    (folder / "main.py").write_text(lacking.format(n=folder.name.removeprefix("kpybuild_")))
    assert "defines `kpy_panic`" in failure(target)


def test_check_finds_a_main_without_export(project, monkeypatch):
    """A root of a target is checked with the whole target."""
    folder, target = project
    only(folder, monkeypatch)
    lacking = MAIN.replace('@export("_start")', "@export").replace("@export\ndef kpy", "def kpy")
    (folder / "main.py").write_text(lacking.format(n=folder.name.removeprefix("kpybuild_")))
    import kpy.__main__ as command

    monkeypatch.setattr(command, "find_targets", lambda _: ([target], []))
    monkeypatch.setattr(sys, "argv", ["kpy", "check", str(folder / "main.py")])
    with contextlib.redirect_stdout(io.StringIO()) as out:
        assert command.main() == 1
    assert "`kpy_panic` is needed by" in out.getvalue()
    assert "write `@export` above it" in out.getvalue()


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
