"""Stack use: what the code of a function does, the worst path, and a program that is too deep."""

import os
import shutil
import subprocess
import sys

import pytest
from kpy.emit import stack_code
from kpy.emit import target_build as builder
from kpy.front.modules import ROOT
from kpy.front.target import Stack, Target

PROGRAM = """from kpy import *
handlers = static(Array[Fn[[u64], u64], 2])
@noinline
def fill(a: Ptr[Array[u8, 1000]], x: u64) -> u64:
    for i in range(1000):
        a[i] = truncate(u8, x)
    return u64(a[x % 1000])
@noinline
def shallow(x: u64) -> u64:
    return x + 1
@noinline
def deep(x: u64) -> u64:
    a = Array[u8, 1000]()
    return fill(ref(a), x) + fill(ref(a), x + 1)
@noinline
def dispatch(x: u64) -> u64:
    return handlers[x](x) + 1
@export("_start")
def start() -> Never:
    handlers[0] = shallow
    handlers[1] = deep
    while True:
        dispatch(load(Ptr[u64](0x5000)))
@export
def interrupted() -> None:
    deep(7)
@export
def quiet() -> u64:
    return shallow(3)
@export
def kpy_panic(site: Ptr[u8], first: u64, second: u64) -> Never:
    while True:
        pass
"""
ASSEMBLY = """
.global memset, memcpy, two_words, calls_on
memset:
memcpy:
    ret
two_words:
    push rbx
    push rcx
    sub rsp, 0x20
    add rsp, 0x20
    pop rcx
    pop rbx
    ret
calls_on:
    push rax
    call two_words
    pop rax
    jmp two_words
"""
SCRIPT = (
    "SECTIONS { . = 0x400000; .text : { *(.text .text.*) } .data : { *(.data* .rodata* .bss*) } }"
)
DEEP_BYTES = 1000


@pytest.fixture(scope="module")
def project():
    folder = builder.Path(ROOT, "build", f"kpystack_{os.getpid()}")
    folder.mkdir(parents=True)
    (folder / "__init__.py").write_text("")
    (folder / "main.py").write_text(PROGRAM)
    (folder / "stub.asm").write_text(ASSEMBLY)
    (folder / "script.lds").write_text(SCRIPT)
    yield folder
    shutil.rmtree(folder)
    builder.Path(ROOT, "build", f"{folder.name}.elf").unlink(missing_ok=True)


@pytest.fixture
def build(project, monkeypatch):
    """A function that builds the program with these stacks; it returns the report."""
    inside = lambda m: (getattr(m, "__file__", "") or "").startswith(str(project))  # noqa: E731
    monkeypatch.setattr(builder, "_is_member", inside)
    monkeypatch.setattr(builder, "OBJECTS", str(project / "obj"))
    monkeypatch.syspath_prepend(str(project.parent))
    name = project.name

    def run(*stacks):
        target = Target([f"{name}.main"], f"build/{name}/script.lds", name=name)
        target.assembly, target.stacks = [f"build/{name}/stub.asm"], list(stacks)
        builder.build(target)
        return builder.Path(builder.stack_report(target)).read_text()

    yield run
    for loaded in [m for m in sys.modules if m.startswith(name)]:
        del sys.modules[loaded]


def used(report, name):
    """The bytes of a stack in a report."""
    (line,) = (line for line in report.splitlines() if line.startswith(f"{name}: "))
    return int(line.split()[-4].replace(",", ""))


def test_the_worst_path_goes_through_a_table_of_functions(build, project):
    report = build(Stack("stack", 4096, ["_start"]))
    assert DEEP_BYTES < used(report, "stack") < DEEP_BYTES + 300
    names = [line.split()[-1] for line in report.splitlines()[1:] if line]
    chain = [f"{project.name}.main.{name}" for name in ("dispatch", "deep", "fill")]
    assert [name for name in names if name in chain] == chain


def test_a_shallow_root_is_shallow(build):
    assert used(build(Stack("stack", 4096, ["quiet"])), "stack") < 100


def test_what_comes_on_top_is_added(build):
    one = used(build(Stack("stack", 4096, ["quiet"])), "stack")
    two = build(Stack("stack", 4096, ["quiet"], ["interrupted"]))
    assert used(two, "stack") > one + DEEP_BYTES
    assert "(an exception's frame)" in two


def test_a_program_that_is_too_deep_does_not_build(build, project):
    with pytest.raises(builder.Failed) as caught:
        build(Stack("little stack", 1024, ["_start"]))
    shown = str(caught.value)
    assert (
        f"error: the little stack of `{project.name}` may overflow: its worst path takes" in shown
    )
    assert "it has 1,024" in shown
    assert f"{project.name}.main.deep" in shown
    assert "help: make locals smaller or static, or the path shorter; `python -m kpy stack" in shown
    assert not builder.Path(ROOT, "build", f"{project.name}.elf").exists()


def test_depths_of_assembly(build, project):
    build(Stack("stack", 4096, ["_start"]))
    found, _ = stack_code.read(builder.Path(ROOT, "build", f"{project.name}.elf"))
    code = {function.name: function for function in found.values()}
    assert code["two_words"].depth == 16 + 0x20
    assert sorted(depth for depth, _ in code["calls_on"].calls) == [0, 16]


def test_the_core_and_libos_say_the_sizes_that_their_stacks_have():
    """BUILD.py must not import the program, so the numbers stand there once more."""
    script = (
        "from kpy.front.target import find_targets\n"
        "core, hello = (find_targets(name)[0][0] for name in ('core', 'hello'))\n"
        "from kernel.x86 import percpu\n"
        "from libos.layout import STACK_BYTES\n"
        "stack = {s.name: s.size for s in core.stacks}\n"
        "low = max(p for p in range(percpu.AREA_BYTES // 4096) "
        "if not percpu.STACK_PAGES >> p & 1) + 1\n"
        "assert stack['stack of a processor'] == percpu.STACK_END - low * 4096\n"
        "assert stack['NMI stack'] == percpu.NMI_STACK_END - 2 * 4096\n"
        "assert stack['#DF stack'] == percpu.DF_STACK_END - 4 * 4096\n"
        "assert {s.size for s in hello.stacks} == {STACK_BYTES}\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
