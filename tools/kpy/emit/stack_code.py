"""What the machine code of a program does with its stack: read from the linked file, function by
function, assembly and all that LLVM inlined included.
"""

import re
from bisect import bisect_right
from dataclasses import dataclass, field

import capstone
from dwarf.image import Image

RSP_BY = re.compile(r"rsp, (-?(?:0x[0-9a-f]+|\d+))$")
RSP_OF_RBP = re.compile(r"rsp, \[rbp(?: ([+-]) (0x[0-9a-f]+|\d+))?\]$")
WORD = 8
PANIC = "kpy_panic"
ZEROS = ("add", "byte ptr [rax], al")  # memory that is filled at run time, as a hypercall page
ENDS = ("ret", "retf", "iretq", "sysretq", "sysret", "ud2", "hlt", "retfq")


@dataclass
class Code:
    """One function: how deep it gets itself, and what it calls, each with the depth there."""

    name: str
    address: int
    depth: int = 0
    calls: list[tuple[int, int]] = field(default_factory=list)  # depth, address of the callee
    by_pointer: list[tuple[int, int]] = field(default_factory=list)  # depth, address of the call
    switches: bool = False  # it goes on with another stack


def read(elf):
    """The functions of a program by address."""
    image = Image(elf)
    functions = image.functions()
    starts = [function.address for function in functions]
    decoder = capstone.Cs(capstone.CS_ARCH_X86, capstone.CS_MODE_64)
    text, base = image.section(".text"), image.names[".text"][3]
    found, panic = {}, next((hex(f.address) for f in functions if f.name == PANIC), "")
    for function in functions:
        low, high = function.address - base, function.end - base
        if 0 <= low < len(text):
            lines = list(decoder.disasm_lite(text[low:high], function.address))
            found[function.address] = _Walk(function, lines, panic).run()
    return found, lambda address: found.get(starts[bisect_right(starts, address) - 1])


class _Walk:
    """The depth of the stack at each instruction, along every branch."""

    def __init__(self, function, lines, panic):
        self.panic = panic
        self.code = Code(function.name, function.address)
        self.end = function.end
        self.lines = {line[0]: line for line in lines}
        self.following = {a[0]: b[0] for a, b in zip(lines, lines[1:], strict=False)}
        self.seen, self.pending, self.tables = set(), [], []
        self.frame = 0  # the depth to which rbp points

    def run(self):
        self.pending.append((self.code.address, 0))
        while self.pending:
            while self.pending:
                self._step(*self.pending.pop())
            self._enter_tables()
        return self.code

    def _enter_tables(self):
        """What only a table of a `match` reaches begins at the depth of the jump through it."""
        rest = [a for a in self.lines if a not in self.seen and "nop" not in self.lines[a][2]]
        if self.tables and rest:
            self.pending.append((rest[0], max(self.tables)))

    def _step(self, address, depth):
        while address in self.lines and address not in self.seen:
            self.seen.add(address)
            _, _, mnemonic, operands = self.lines[address]
            if (mnemonic, operands) == ZEROS:
                return
            depth = self._moved(mnemonic, operands, depth)
            self.code.depth = max(self.code.depth, depth)
            if mnemonic == "call":
                self._call(address, operands, depth + WORD)
            elif mnemonic.startswith("j") and not self._jump(address, mnemonic, operands, depth):
                return
            if mnemonic in ENDS:
                return
            onward = self.following.get(address)
            if mnemonic == "call" and operands == self.panic:
                return  # it never comes back
            if onward is None and mnemonic not in ("call", "nop"):  # falls into the label behind it
                self.code.calls.append((depth, self.end))
            address = onward

    def _moved(self, mnemonic, operands, depth):
        """The depth after an instruction."""
        if mnemonic.startswith("push"):
            return depth + WORD
        if mnemonic.startswith("pop") and mnemonic != "popcnt":
            return depth - WORD
        if mnemonic == "leave":
            return self.frame - WORD
        if operands == "rbp, rsp" and mnemonic == "mov":
            self.frame = depth
        if not operands.startswith("rsp, "):
            return depth
        if found := RSP_BY.match(operands):
            number = int(found[1], 0)
            moved = {"sub": number, "add": -number, "and": max(0, -number - WORD)}
            return depth + moved.get(mnemonic, 0)
        if found := RSP_OF_RBP.match(operands):
            offset = int(found[2], 0) if found[2] else 0
            return self.frame + (offset if found[1] == "-" else -offset)
        if operands == "rsp, rbp":
            return self.frame
        if mnemonic in ("mov", "lea"):
            self.code.switches = True
            return 0
        return depth

    def _call(self, address, operands, depth):
        if operands.startswith("0x"):
            self.code.calls.append((depth, int(operands, 16)))
        else:
            self.code.by_pointer.append((depth, address))

    def _jump(self, address, mnemonic, operands, depth):
        """Follow a jump; return whether control may also go on behind it."""
        if not operands.startswith("0x"):
            if depth <= 0:
                self.code.by_pointer.append((depth, address))
            else:
                self.tables.append(depth)
            return False
        target = int(operands, 16)
        if self.code.address <= target < self.end:
            self.pending.append((target, depth))
        else:
            self.code.calls.append((depth, target))
        return mnemonic != "jmp"
