"""A linked program's file: flat, measured, and without what tells where it was built."""

import struct

import pytest
from dwarf.image import EHDR, SHDR, Image
from kpy.emit.backend import compile_object
from kpy.emit.link import LinkError, run_linker
from kpy.emit.program_file import ProgramFile

SCRIPT = """
SECTIONS
{
    . = 0x400000;
    .text : { *(.text) }
    . = 0x402000;
    .data : { *(.data) }
    . = 0x403000;
    .bss : { *(.bss) }
    /DISCARD/ : { *(.note*) *(.comment) *(.eh_frame) }
}
"""
PROGRAM = """
target triple = "x86_64-unknown-none-elf"
@word = global i64 81985529216486895, section ".data"
@room = global [4096 x i8] zeroinitializer, section ".bss"
define void @_start() section ".text" !dbg !3 { ret void, !dbg !5 }
!llvm.dbg.cu = !{!0}
!llvm.module.flags = !{!2}
!0 = distinct !DICompileUnit(language: DW_LANG_C99, file: !1, emissionKind: FullDebug)
!1 = !DIFile(filename: "secret.py", directory: "/some/folder")
!2 = !{i32 2, !"Debug Info Version", i32 3}
!3 = distinct !DISubprogram(name: "_start", file: !1, line: 1, type: !4, unit: !0)
!4 = !DISubroutineType(types: !6)
!5 = !DILocation(line: 1, scope: !3)
!6 = !{}
"""


@pytest.fixture
def program(tmp_path):
    (tmp_path / "script").write_text(SCRIPT)
    (tmp_path / "a.o").write_bytes(compile_object(PROGRAM, "x86_64-unknown-none-elf"))
    run_linker(["-T", "script", "-o", "a", "a.o"], tmp_path)
    return tmp_path / "a"


def test_the_flat_image_has_each_section_in_its_place_and_no_zeroed_end(program):
    flat = ProgramFile(program).flat()
    assert len(flat) == 0x2008
    assert struct.unpack_from("<Q", flat, 0x2000) == (0x0123456789ABCDEF,)
    assert flat[0] == 0xC3 and not any(flat[16:0x2000])


def test_code_data_and_zeroes_are_counted_apart(program):
    fixed, data, zero = ProgramFile(program).sizes()
    assert 0 < fixed < 16 and data == 8 and zero == 4096


def test_without_debug_the_folder_is_gone_and_the_names_stay(program, tmp_path):
    assert b"/some/folder" in program.read_bytes()
    (tmp_path / "b").write_bytes(ProgramFile(program).without_debug())
    left = (tmp_path / "b").read_bytes()
    assert b"/some/folder" not in left and b"secret.py" not in left
    before, after = Image(program), Image(tmp_path / "b")
    assert [f.name for f in after.functions()] == [f.name for f in before.functions()] == ["_start"]
    assert bytes(after.section(".data")) == bytes(before.section(".data"))
    header = EHDR.unpack_from(left)
    assert header[6] + header[12] * SHDR.size == len(left), "the section headers end the file"


def test_what_the_linker_refuses_is_told_in_its_words(tmp_path):
    with pytest.raises(LinkError, match="no such file|cannot open"):
        run_linker(["-o", "a", "missing.o"], tmp_path)
