"""The assembler: encodings that keystone gets wrong, symbols, relocations, templates, errors."""

import io

import pytest
from asm.assembler import assemble
from asm.errors import AsmError
from elftools.elf.elffile import ELFFile

from tests.asm.disassemble import disassembly, object_file, relocations


def code(text: str) -> str:
    return bytes(assemble(text, "test.asm").sections[".text"].data).hex(" ")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("push 14", "6a 0e"),
        ("push 0x14", "6a 14"),
        ("mov rax, gs:[0x10]", "65 48 8b 04 25 10 00 00 00"),
        ("mov gs:[16], rsp", "65 48 89 24 25 10 00 00 00"),
        ("mov qword ptr gs:[8], 5", "65 48 c7 04 25 08 00 00 00 05 00 00 00"),
        ("endbr64", "f3 0f 1e fa"),
        ("sysretq", "48 0f 07"),
        ("iretq", "48 cf"),
        ("retfq", "48 cb"),
        ("mov eax, 'A'", "b8 41 00 00 00"),
        ("rep stosq", "f3 48 ab"),
        ("lock cmpxchg [rdi], rsi", "f0 48 0f b1 37"),
        ("a: jmp short a", "eb fe"),
        ("a: jmp a", "e9 fb ff ff ff"),
        ("a: jrcxz a", "e3 fe"),
        (".code32\nlgdt [0x8000]", "0f 01 15 00 80 00 00"),
        (".code32\nljmp 0x08, 0x1234", "ea 34 12 00 00 08 00"),
        (".code16\nljmp32 0x08, 0x1234", "66 ea 34 12 00 00 08 00"),
        (".code16\na: mov si, b - a + 0x8000\nb:", "be 03 80"),
        (".equ N, 3 * 8\nmov ecx, N", "b9 18 00 00 00"),
        ("nop\n.align 8", "90 66 0f 1f 44 00 00 90"),
        (".long a - .\na:", "04 00 00 00"),
        ("a: mov rax, gs:[b - a]\nb:", "65 48 8b 04 25 09 00 00 00"),
        ("a: mov eax, [b - a + rbx*4]\nb:", "8b 04 9d 07 00 00 00"),
    ],
)
def test_encodings(text, expected):
    assert code(text) == expected


def test_relocations_are_what_a_linker_expects():
    text = """
        .extern far, away
        .global start
        start: call far
        lea rax, [rip + table + 8]
        movabs rbx, away
        mov edx, [away + rax*4]
        .section .rodata
        table: .quad start, table - start_of_nothing + 4
        start_of_nothing:
    """
    found = relocations(object_file(text))
    assert found[".text"] == [
        (1, 4, "far", -4),
        (8, 2, "table", 4),
        (14, 1, "away", 0),
        (25, 11, "away", 0),
    ]
    assert found[".rodata"] == [(0, 1, "start", 0)]


def test_symbols_carry_size_and_kind():
    elf = ELFFile(
        io.BytesIO(object_file(".global f, d\nf: nop\n.in: ret\ng: ret\n.data\nd: .quad 1"))
    )
    symbols = {s.name: s for s in elf.get_section_by_name(".symtab").iter_symbols()}
    assert symbols["f"]["st_size"] == 2 and symbols["f"]["st_info"]["type"] == "STT_FUNC"
    assert symbols["f"]["st_info"]["bind"] == "STB_GLOBAL"
    assert symbols["g"]["st_info"]["bind"] == "STB_LOCAL"
    assert symbols["d"]["st_size"] == 8 and symbols["d"]["st_info"]["type"] == "STT_OBJECT"


def test_debug_lines_lead_to_the_source():
    elf = ELFFile(io.BytesIO(object_file("nop\n\nnop\nret\n")))
    dwarf = elf.get_dwarf_info()
    unit = next(dwarf.iter_CUs())
    entries = dwarf.line_program_for_CU(unit).get_entries()
    rows = [
        (e.state.address, e.state.line) for e in entries if e.state and not e.state.end_sequence
    ]
    assert rows == [(0, 1), (1, 3), (2, 4)]


def test_templates_loop_choose_and_call():
    text = """
        %def save(base, *registers):
          %for i, name in enumerate(registers):
            mov [{base} + {8 * i}], {name}
          %end
        %end
        %for n in range(3):
          %if n == 1:
            push {n}
          %else:
            nop
          %end
        %end
        %save("rsp", "rax")
    """
    assert code(text) == "90 6a 01 90 48 89 04 24"


def test_struct_offsets_are_the_compilers():
    text = """
        %import abi
        %from abi import start_info
        mov rdi, [rsi + {start_info.pt_base}]
        mov ecx, {sizeof start_info}
        mov edx, {abi.vcpu_guest_context.trap_ctxt[3].address}
        mov eax, {abi.__HYPERVISOR_iret}
    """
    expected = "48 8b 7e 58 b9 90 04 00 00 ba 08 03 00 00 b8 17 00 00 00"
    assert code(text) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("nop\njmp nowhere", "test.asm:2: error: `nowhere` is not defined"),
        ("frobnicate rax", "test.asm:1: error: keystone does not take `frobnicate rax`"),
        ("a: nop\na: nop", "test.asm:2: error: label `a` is defined twice"),
        ("iret", "write `iretq`"),
        ("jmp 0x1000", "a branch needs a label"),
        (".section .odd", "needs flags"),
        (".frob 1", "unknown directive .frob"),
        ("%for i in range(3):\nnop", "not closed by %end"),
        ("mov rax, {undefined_name}", "test.asm:1: error: in the template"),
        ("%import abi\nnop\nmov rax, {abi.start_info.nope}", "test.asm:3: error: in the template"),
        (".data\na: .byte 300", "0x12c does not fit in 1 bytes"),
        ("a: jmp short b\n.zero 200\nb:", "does not fit in 1 bytes"),
        (".global missing", "it is not defined here"),
    ],
)
def test_errors_name_the_line(text, message):
    with pytest.raises(AsmError) as caught:
        assemble(text, "test.asm")
    assert message in str(caught.value)


def test_capstone_reads_back_what_was_written():
    text = ".global f\nf:\nmov rax, gs:[0x28]\n.loop:\ndec rax\njnz .loop\nret\n"
    assert disassembly(text, "test.asm").splitlines() == [
        "section .text",
        "f:",
        "  0000  mov rax, qword ptr gs:[0x28]",
        "f.loop:",
        "  0009  dec rax",
        "  000c  jne 9",
        "  0012  ret",
    ]
