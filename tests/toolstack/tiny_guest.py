"""Guests of a few instructions, made here: assembled by keystone and wrapped into an ELF file with
Xen's notes.

They find their pages as every builder lays them out: start_info, then the xenstore page, then the
console page.
"""

import struct

import xen_codecs as abi
from keystone import KS_ARCH_X86, KS_MODE_64, Ks
from xen.xs_wire import Packet

VIRT_BASE = 0xFFFFFFFF80000000
HYPERCALL_PAGE, CODE = VIRT_BASE, VIRT_BASE + 0x1000
HEADERS = 64 + 2 * 56
FILE_ALIGN = 0x1000

_CONSOLE = abi.xencons_interface
_STORE = abi.xenstore_domain_interface
_CONSOLE_PORT = abi.start_info.console.offset + abi.start_info_console_domU.evtchn.offset
_STORE_PORT = abi.start_info.store_evtchn.offset


def hypercall(number, first, argument):
    """Return assembly that makes a hypercall with an operation and a pointer on the stack."""
    stub = HYPERCALL_PAGE + number * 32
    return f"""
        mov rdi, {first:#x}
        lea rsi, [rsp - 0x40]
        mov dword ptr [rsi], {argument}
        mov rax, {stub:#x}
        call rax
    """


def notify(port_offset):
    """Return assembly that signals the event channel whose port is in start_info."""
    send = hypercall(abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_send, "ecx")
    return f"mov ecx, dword ptr [r15 + {port_offset:#x}]\n{send}"


def shutdown(reason):
    """Return assembly that ends the domain."""
    return hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_shutdown, f"{reason:#x}") + "ud2\n"


def copy(data, base, offset):
    """Return assembly that stores bytes at a register plus an offset."""
    lines = []
    for at in range(0, len(data), 4):
        word = int.from_bytes(data[at : at + 4].ljust(4, b"\0"), "little")
        lines.append(f"mov dword ptr [{base} + {offset + at:#x}], {word:#x}")
    return "\n".join(lines) + "\n"


def say(text):
    """Return assembly that prints text on the console, which must be empty."""
    data = text.encode()
    return f"""
        lea r14, [r15 + 0x2000]
        {copy(data, "r14", _CONSOLE.out.offset)}
        mov dword ptr [r14 + {_CONSOLE.out_prod.offset:#x}], {len(data):#x}
        {notify(_CONSOLE_PORT)}
    """


def write_exit_code(code):
    """Return assembly that writes `data/exit-code` and waits for xenstored's reply."""
    payload = b"data/exit-code\0%d" % code
    data = Packet(abi.XS_WRITE, 0, 0, payload).encode()
    return f"""
        lea r14, [r15 + 0x1000]
        {copy(data, "r14", _STORE.req.offset)}
        mov dword ptr [r14 + {_STORE.req_prod.offset:#x}], {len(data):#x}
        {notify(_STORE_PORT)}
    reply_{code}:
        pause
        cmp dword ptr [r14 + {_STORE.rsp_prod.offset:#x}], 0x0
        je reply_{code}
    """


HELLO = say("hello from a tiny guest\n") + write_exit_code(42) + shutdown(abi.SHUTDOWN_poweroff)
SPIN = say("spinning\n") + "here: pause\n jmp here\n"
REBOOT = say("again\n") + shutdown(abi.SHUTDOWN_reboot)
# Three calls deep with frame pointers, then an instruction that no trap handler takes.
CRASH_PARTS = (
    ("_start", "mov rbp, 0x0\n mov r15, rsi\n call outer\n ud2\n"),
    ("outer", "push rbp\n mov rbp, rsp\n call inner\n ud2\n"),
    ("inner", "push rbp\n mov rbp, rsp\n mov rax, 0x1234\n ud2\n"),
)


def build(body, virt_base=VIRT_BASE, notes=True, elf_class=2):
    """Return an ELF file whose code is `body`, with start_info in r15."""
    return link((("_start", "mov r15, rsi\n" + body),), virt_base, notes, elf_class)


def link(parts, virt_base=VIRT_BASE, notes=True, elf_class=2):
    """Return an ELF file of labelled parts, which become its symbols."""
    assembler = Ks(KS_ARCH_X86, KS_MODE_64)
    source = "\n".join(f"{name}:\n{text}" for name, text in parts)
    code = bytes(assembler.asm(source, CODE)[0])
    symbols, prefix = [], ""
    for name, text in parts:
        before = assembler.asm(prefix + _tail(parts, name), CODE)[0] if prefix else []
        symbols.append((name, CODE + len(before)))
        prefix += f"{name}:\n{text}\n"
    return _elf(code, symbols, virt_base, notes, elf_class)


def _tail(parts, name):
    """Labels that the code before `name` may call, without code."""
    names = [part[0] for part in parts]
    return "".join(f"{label}:\n" for label in names[names.index(name) :])


def _elf(code, symbols, virt_base, notes, elf_class):
    image = bytes(0x1000) + code
    note = _notes(virt_base) if notes else b""
    names = b"\0.text\0" + b"".join(name.encode() + b"\0" for name, _ in symbols)
    table = bytes(24)
    for name, value in symbols:
        at = names.index(b"\0" + name.encode() + b"\0") + 1
        table += struct.pack("<IBBHQQ", at, 0x12, 0, 3, value, 0)
    at_note = FILE_ALIGN + len(image)
    at_table = at_note + len(note)
    at_names = at_table + len(table)
    at_sections = at_names + len(names)
    load = struct.pack(
        "<IIQQQQQQ", 1, 7, FILE_ALIGN, VIRT_BASE, 0, len(image), len(image) + 0x1000, 0x1000
    )
    notes_header = struct.pack("<IIQQQQQQ", 4, 4, at_note, 0, 0, len(note), len(note), 4)
    ident = b"\x7fELF" + bytes([elf_class, 1, 1]) + bytes(9)
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, 62, 1, CODE, 64, at_sections, 0, 64, 56, 2, 64, 4, 2
    )
    sections = (
        bytes(64)
        + _section(2, at_table, len(table), 2, 24)
        + _section(3, at_names, len(names), 0, 0)
        + _code_section(len(code))
    )
    body = header + load + notes_header
    return body.ljust(FILE_ALIGN, b"\0") + image + note + table + names + sections


def _section(kind, offset, size, link, entry_size):
    return struct.pack("<IIQQQQIIQQ", 1, kind, 0, 0, offset, size, link, 0, 1, entry_size)


def _code_section(size):
    offset = FILE_ALIGN + CODE - VIRT_BASE
    return struct.pack("<IIQQQQIIQQ", 1, 1, 6, CODE, offset, size, 0, 0, 16, 0)


def _notes(virt_base):
    values = (
        (abi.XEN_ELFNOTE_ENTRY, CODE),
        (abi.XEN_ELFNOTE_HYPERCALL_PAGE, HYPERCALL_PAGE),
        (abi.XEN_ELFNOTE_VIRT_BASE, virt_base),
        (abi.XEN_ELFNOTE_PADDR_OFFSET, 0),
    )
    return b"".join(struct.pack("<III4sQ", 4, 8, kind, b"Xen\0", value) for kind, value in values)
