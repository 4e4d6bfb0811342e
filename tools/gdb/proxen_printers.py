"""How gdb prints the types of kernel Python: texts and slices, typed numbers, registers, frames.

A printer is chosen by the type's name in the DWARF that tools/kpy/lower/debuginfo.py writes.
"""

import re

import gdb
import gdb.printing

SHOWN_ELEMENTS = 200
HEXADECIMAL = {"Mfn", "Pfn", "Maddr", "Vaddr"}
REGISTER_ROWS = (
    ("rip", "rsp", "rbp"),
    ("rax", "rbx", "rcx"),
    ("rdx", "rsi", "rdi"),
    ("r8", "r9", "r10"),
    ("r11", "r12", "r13"),
    ("r14", "r15", "rflags"),
)


class Number:
    """Mfn, Pfn and other typed numbers that are read as hexadecimal."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return hex(int(self.value))


class SmallNumber:
    """u8 and i8: gdb would take them for characters."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return str(int(self.value))


class GuestPointer:
    """Guest[T]: an address of a guest, which the core must not use directly."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return f"{self.value.type.name}({int(self.value):#x})"


class Text:
    """Slice[u8], as text."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        length = min(int(self.value["length"]), SHOWN_ELEMENTS)
        if length == 0:
            return '""'
        return (
            self.value["ptr"]
            .cast(gdb.lookup_type("char").pointer())
            .string("latin-1", length=length)
        )

    def display_hint(self):
        return "string" if int(self.value["length"]) else None


class Slice:
    """Slice[T]: its elements."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        return f"{self.value.type.name} of {int(self.value['length'])} at {self.value['ptr']}"

    def children(self):
        for index in range(min(int(self.value["length"]), SHOWN_ELEMENTS)):
            yield f"[{index}]", (self.value["ptr"] + index).dereference()

    def display_hint(self):
        return "array"


class Registers:
    """cpu_user_regs, as a table."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        rows = [
            "  ".join(f"{name:>6} {int(self.value[name]):016x}" for name in row)
            for row in REGISTER_ROWS
        ]
        selectors = " ".join(f"{name} {int(self.value[name]):04x}" for name in ("cs", "ss"))
        last = f"    cs {selectors[3:]}  vector {int(self.value['entry_vector']):#x}"
        last += f"  error {int(self.value['error_code']):#x}"
        place = symbol_at(int(self.value["rip"]))
        return "\n" + "\n".join([*rows, last]) + (f"\n   rip is {place}" if place else "")


class FrameEntry:
    """Frame of the frame table, with `info` taken apart."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        from proxen_frames import describe_info

        owner = int(self.value["owner"])
        return f"{describe_info(int(self.value['info']))}, owner {owner_name(owner)}"

    def children(self):
        for name in ("info", "order", "flags", "next", "previous", "stamp"):
            yield name, self.value[name]


class Lock:
    """SpinLock: the holder is a physical CPU."""

    def __init__(self, value):
        self.value = value

    def to_string(self):
        owner = int(self.value["owner"])
        return f"held by CPU {owner - 1}" if owner else "free"


def symbol_at(address):
    """Return `function+offset (file:line)` of an address, "" where no symbol is known."""
    text = gdb.execute(f"info symbol {address:#x}", to_string=True)
    found = re.match(r"(\S+)(?: \+ (\d+))? in section", text)
    if not found:
        return ""
    name = found[1].rpartition(".")[2] if found[1].startswith(("kernel.", "libos.")) else found[1]
    block = block_at(address)
    if block is not None and block.function is not None:
        name = block.function.name
    offset = f"+{int(found[2]):#x}" if found[2] else ""
    line = gdb.find_pc_line(address)
    where = f" ({line.symtab.filename}:{line.line})" if line.symtab else ""
    return f"{name}{offset}{where}"


def block_at(address):
    """Return the block of the function around an address, None when there is none."""
    try:
        block = gdb.block_for_pc(address)
    except (RuntimeError, gdb.error):
        return None
    while block is not None and block.function is None:
        block = block.superblock
    return block


def owner_name(domid):
    """Return who owns a frame, as d1 or one of the ABI's names."""
    names = {0x7FF2: "DOMID_XEN", 0x7FF4: "nobody", 0x7FFF: "the core"}
    return names.get(domid, f"d{domid}")


def printer_for(value):
    """Return the printer of a value, None for gdb's own."""
    name = value.type.name or value.type.unqualified().name
    if name is None:
        return None
    if name in HEXADECIMAL:
        return Number(value)
    if name in ("u8", "i8"):
        return SmallNumber(value)
    if name.startswith("Guest["):
        return GuestPointer(value)
    name = value.type.strip_typedefs().name or ""
    if name in ("Slice[u8]", "Slice[char]"):
        return Text(value)
    if name.startswith("Slice["):
        return Slice(value)
    return {"cpu_user_regs": Registers, "Frame": FrameEntry, "SpinLock": Lock}.get(
        name, lambda value: None
    )(value)


def register():
    """Use the printers, before gdb's own."""
    gdb.pretty_printers.insert(0, printer_for)
