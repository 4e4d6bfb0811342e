"""DWARF: Debian's gdb shows lines, arguments, locals, statics and structs of a compiled program."""

import re
import subprocess

import pytest
from kpy.check import checker
from kpy.emit import backend
from kpy.emit.link import run_linker
from kpy.front import modules
from kpy.front.program import Program
from kpy.lower.unit import Unit

from tests.host_tools import needs
from tools.setup.patience import PATIENCE_S

PROGRAM = """
@enum(u8)
class State:
    IDLE = 0
    RUNNING = 1
Mfn = newtype("Mfn", u64, none=0)
@struct
class Vcpu:
    id: u32
    state: State
    frame: Mfn
    spare: Mfn | None
    next: Ptr["Vcpu"] | None
    counts: Array[u16, 3]
    name: Slice[u8]
vcpus = static(Array[Vcpu, 2])
@asm("syscall", "{rax},{rdi},~{rcx},~{r11},~{memory}")
def syscall(number: u64, a: u64) -> None: ...
@noinline
def inspect(vcpu: Ptr[Vcpu], depth: u64) -> u64:
    barrier()
    total = depth * u64(vcpu.id)
    barrier()
    return total + u64(vcpus[0].counts[1])
@noinline
def count(text: Slice[u8]) -> u64:
    barrier()
    return len(text) + u64(text[0])
@export("_start")
def start() -> Never:
    vcpus[1] = Vcpu(id=7, state=State.RUNNING, frame=Mfn(0x1234), counts=[1, 2, 3], name="idle")
    vcpus[1].next = ref(vcpus[0])
    result = inspect(ref(vcpus[1]), 6) + count(vcpus[1].name) - 109
    syscall(60, result)
    unreachable()
@export
def kpy_panic(site: Ptr[u8], first: u64, second: u64) -> Never:
    while True:
        syscall(60, 1)
"""


@pytest.fixture
def executable(module, tmp_path):
    """The program above as a static Linux executable."""
    program = Program()
    loaded = modules.load(program, module(PROGRAM, "debugged"))
    roots = modules.declared_instances(program, loaded)
    checker.check_all(program, roots)
    assert not len(program.diagnostics), program.diagnostics.render()
    unit = Unit(program, "debugged")
    for instance in roots:
        if instance.shared:
            unit.function(instance)
    (tmp_path / "debugged.o").write_bytes(backend.compile_object(unit.finish(), unit.triple))
    _write_memory_functions(tmp_path / "memory.o")
    run_linker(["-o", "debugged", "debugged.o", "memory.o"], tmp_path)
    return tmp_path / "debugged"


def _write_memory_functions(path):
    """The memcpy and memset that a real program's assembly provides, here only to link."""
    text = """
target triple = "x86_64-unknown-none-elf"
define void @memset(ptr %p, i32 %c, i64 %n) { ret void }
define void @memcpy(ptr %p, ptr %q, i64 %n) { ret void }
"""
    path.write_bytes(backend.compile_object(text, "x86_64-unknown-none-elf"))


@needs("gdb")
def test_gdb_shows_the_python_program(executable):
    commands = [
        "break inspect",
        "run",
        "backtrace",
        "info args",
        "print *vcpu",
        "print vcpu->next == &vcpus[0]",
        "print/x vcpus[1].frame",
        "ptype struct Vcpu",
        "finish",
        "break count",
        "continue",
        "info args",
        "continue",
    ]
    options = [word for command in commands for word in ("-ex", command)]
    shown = subprocess.run(
        ["gdb", "-batch", "-nx", *options, str(executable)],
        capture_output=True, text=True, timeout=PATIENCE_S, cwd=executable.parent,
    ).stdout  # fmt: skip
    assert "debugged.py:" in shown
    assert "#0  inspect (vcpu=" in shown
    assert "in start () at" in shown
    assert "id = 7, state = RUNNING, frame = 4660, spare = 0" in shown
    assert "counts = {1, 2, 3}" in shown
    assert "$2 = 1" in shown
    assert "$3 = 0x1234" in shown
    assert "Mfn frame;" in shown
    assert "Mfn spare;" in shown
    assert re.search(r"text = \{ptr = 0x\w+ .*length = 4\}", shown), "both words of a slice"
    assert "exited with code 052" in shown
