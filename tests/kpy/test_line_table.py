"""Lines of code: what debug information says, against binutils; and the table that a program
carries for its own backtraces, against that.
"""

import random
import re
import subprocess
from pathlib import Path

import pytest
from dwarf.source import SourceMap
from hypothesis import given
from hypothesis import strategies as st
from kpy import jit
from kpy.emit import lines

from linetable.encode import MAX_DEPTH, make_table
from linetable.reader import Frames
from tests.c_compiler import compile_c
from tests.host_tools import needs
from tools.run.build import build_core
from tools.setup.paths import ROOT

SAMPLE = 400
SMALL_BYTES = 64
BASE = 0xFFFF82D040100000
C_KERNEL = """static inline int deep(int x) {
  if (x == 5)
    __builtin_trap();
  return x * 3;
}
int outer(int a) {
  return deep(a);
}
"""


@pytest.fixture(scope="module")
def reader():
    return jit.load("linetable.reader")


@pytest.fixture(scope="module")
def elf():
    return build_core().with_suffix(".elf")


@pytest.fixture(scope="module")
def source(elf):
    return SourceMap(elf, ROOT.as_posix())


def some_addresses(source):
    """Addresses all over the core's code, always the same."""
    large = [f for f in source.functions if f.end - f.address > SMALL_BYTES]
    chosen = random.Random(7).sample(large, SAMPLE)
    return [random.Random(f.address).randrange(f.address, f.end) for f in chosen]


def by_binutils(elf, addresses):
    """[(function, file:line), …] of each address, innermost first, as addr2line has them."""
    command = ["addr2line", "-a", "-f", "-i", "-e", str(elf), *map(hex, addresses)]
    text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    for block in re.split(r"^0x[0-9a-f]+\n", text, flags=re.MULTILINE)[1:]:
        words = block.splitlines()
        yield [(n, p.split(" (disc")[0]) for n, p in zip(words[::2], words[1::2], strict=True)]


@needs("addr2line", "binutils")
def test_source_lines_are_those_of_addr2line(elf, source):
    compared, addresses = 0, some_addresses(source)
    for address, theirs in zip(addresses, by_binutils(elf, addresses), strict=True):
        if "?" in str(theirs):
            continue
        ours = [(f.function, f"{ROOT}/{f.file}:{f.line}") for f in source.find(address)]
        assert ours == theirs, hex(address)
        compared += len(ours) > 1
    assert compared > SAMPLE // 10


@pytest.mark.parametrize("version", [4, 5])
def test_other_compilers_kernels_are_understood(tmp_path, version):
    """A guest's kernel may come from clang, with DWARF of either version."""
    (tmp_path / "k.c").write_text(C_KERNEL)
    flags = ["-nostdlib", "-static", "-O2", f"-gdwarf-{version}", "-Wl,-e,outer", "-o", "k"]
    done = compile_c(*flags, "k.c", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    kernel = SourceMap(tmp_path / "k", tmp_path.as_posix())
    parts = [f for f in kernel.functions if f.name.startswith("outer")]  # the trap may stand apart
    found = [kernel.find(address) for f in parts for address in range(f.address, f.end)]
    traps = [[(f.function, f.file, f.line) for f in frames] for frames in found]
    assert [("deep", "k.c", 3), ("outer", "k.c", 7)] in traps


def read(reader, table, address):
    """[(routine, file, line), …], outermost first; None for no code of the program."""
    frames = reader.new(Frames)
    if not reader.find_frames(table, address, frames):
        return None
    places = [frames.places[i] for i in range(frames.count)]
    return [
        (
            bytes(reader.routine_name(table, place.routine)).decode(),
            bytes(reader.file_name(table, place.routine)).decode() or None,
            place.line,
        )
        for place in places
    ]


def test_the_cores_table_says_what_its_debug_information_says(reader, elf, source):
    table = make_table(*lines.of_program(elf))
    checked = 0
    for address in some_addresses(source):
        frames = [(f.function, f.file, f.line) for f in reversed(source.find(address))]
        if frames[-1][2]:
            assert read(reader, table, address) == frames[:MAX_DEPTH], hex(address)
            checked += 1
    assert checked > SAMPLE // 2
    assert read(reader, table, source.functions[0].address - 1) is None
    assert read(reader, table, max(f.end for f in source.functions)) is None
    assert table in Path(elf).read_bytes(), "the core carries another table"


places = st.tuples(
    st.sampled_from("abcdefg"), st.sampled_from([None, "f.py", "g.py"]), st.integers(0, 70000)
)
steps = st.tuples(st.integers(1, 200), st.lists(places, min_size=1, max_size=MAX_DEPTH))


@given(st.lists(st.lists(steps, max_size=12), min_size=1, max_size=4))
def test_any_table_reads_back(reader, shape):
    functions, rows, expected, address = [], {}, {}, BASE
    for number, own in enumerate(shape):
        start, rows[address] = address, []
        functions.append((start, f"function{number}"))
        outer = own[0][1][0][:2] if own else None
        for size, frames in own:
            frames = [(*outer, frames[0][2]), *frames[1:]]
            rows[start].append((address, frames))
            expected[address] = expected[address + size - 1] = frames
            address += size
        address += 1
    table = make_table([*functions, (address, "")], rows)
    for at, frames in expected.items():
        assert read(reader, table, at) == frames


@given(st.data())
def test_a_damaged_table_does_no_harm(reader, data):
    """Whatever the bytes are, the reader ends and never leaves them: KpyPanic would fail this."""
    rows = {BASE: [(BASE, [("a", "f.py", 1)]), (BASE + 4, [("a", "f.py", 3), ("b", "g.py", 9)])]}
    table = bytearray(make_table([(BASE, "a"), (BASE + 64, "")], rows))
    for _ in range(data.draw(st.integers(1, 6))):
        table[data.draw(st.integers(4, len(table) - 1))] = data.draw(st.integers(0, 255))
    table = bytes(table[: data.draw(st.integers(0, len(table)))])
    frames = reader.new(Frames)
    if reader.find_frames(table, BASE + data.draw(st.integers(0, 63)), frames):
        assert 1 <= frames.count <= MAX_DEPTH
        reader.routine_name(table, frames.places[0].routine)
        reader.file_name(table, frames.places[0].routine)
