"""One instruction: find its symbol, let keystone encode a stand-in number, and say where the number
is.

Keystone knows nothing of symbols, reads bare numbers as hexadecimal, makes `[0x10]` RIP-relative in
64-bit code and gets far jumps wrong; all of that is mended here, so a file means what Intel's
manual says.
"""

import re
from dataclasses import dataclass
from functools import cache

import keystone

from asm.errors import AsmError
from asm.expression import Sum, number_value, parse_sum, tokens

MODES = {16: keystone.KS_MODE_16, 32: keystone.KS_MODE_32, 64: keystone.KS_MODE_64}
STAND_IN = {8: 0x1122334455667788, 4: 0x11223344, 2: 0x1122}
BRANCH = re.compile(r"(call|jmp|j[a-z]{1,4}|loop(n?[ez])?|xbegin)$")
SHORT_ONLY = re.compile(r"(j[er]?cxz|loop(n?[ez])?)$")
PREFIXES = {
    "lock",
    "rep",
    "repe",
    "repne",
    "repz",
    "repnz",
    "data16",
    "data32",
    "addr32",
    "notrack",
}
BY_BYTES = {
    "endbr64": "f30f1efa", "sysretq": "480f07", "sysretl": "0f07", "lretq": "48cb", "retfq": "48cb",
}  # fmt: skip
REFUSED = {(64, "iret"): "iretq", (64, "sysret"): "sysretq", (64, "retf"): "retfq"}
LEGACY = ("ax", "bx", "cx", "dx", "si", "di", "bp", "sp")
REGISTERS = {prefix + name for name in LEGACY for prefix in ("", "e", "r")}
REGISTERS |= {f"{name}{half}" for name in "abcd" for half in "lh"} | {"sil", "dil", "bpl", "spl"}
SEGMENTS = {"cs", "ds", "es", "fs", "gs", "ss"}
REGISTERS |= SEGMENTS | {"rip", "eip", "st"}
REGISTERS |= {f"r{i}{s}" for i in range(8, 16) for s in ("", "d", "w", "b")}
REGISTERS |= {
    f"{bank}{i}" for bank in ("cr", "dr", "xmm", "ymm", "mm", "st", "k") for i in range(16)
}
WORDS = {
    "byte",
    "word",
    "dword",
    "qword",
    "tbyte",
    "xmmword",
    "oword",
    "fword",
    "ptr",
    "short",
    "offset",
}
OPERAND_SPLIT = re.compile(r",(?![^\[]*\])")


@dataclass(frozen=True)
class Fixup:
    """`size` bytes at `offset` hold the value of `sum`, less the place after the instruction when
    `pc_relative`.
    """

    offset: int
    size: int
    sum: Sum
    pc_relative: bool
    branch: bool
    signed: bool


@dataclass(frozen=True)
class Encoded:
    code: bytes
    fixups: tuple[Fixup, ...] = ()


@cache
def _engine(bits: int) -> keystone.Ks:
    return keystone.Ks(keystone.KS_ARCH_X86, MODES[bits])


@cache
def _keystone(text: str, bits: int) -> bytes | None:
    try:
        return bytes(_engine(bits).asm(text, 0)[0] or b"") or None
    except keystone.KsError:
        return None


def encode(text: str, bits: int) -> Encoded:
    """Assemble one instruction."""
    mnemonic, operands = split_mnemonic(text)
    word = mnemonic.split()[-1]
    if (bits, word) in REFUSED:
        raise AsmError(f"`{word}` has a 32-bit operand here: write `{REFUSED[bits, word]}`")
    if word in BY_BYTES and not operands:
        return Encoded(bytes.fromhex(BY_BYTES[word]))
    if word in ("ljmp", "ljmp32") and len(operands) == 2:
        return far_jump(operands, 4 if bits == 32 or word == "ljmp32" else 2, bits)
    symbolic = [i for i, operand in enumerate(operands) if symbol_names(operand)]
    if len(symbolic) > 1:
        raise AsmError("more than one operand with a symbol")
    if symbolic:
        return encode_symbol(mnemonic, operands, symbolic[0], bits)
    if BRANCH.match(word) and operands and re.fullmatch(r"[\dx][\w]*", operands[0]):
        raise AsmError(
            "a branch needs a label: a number would be relative to a place that nobody knows yet"
        )
    return Encoded(encode_plain(mnemonic, operands, bits, text))


def split_mnemonic(text: str) -> tuple[str, list[str]]:
    words = text.split()
    count = 1
    while count < len(words) and words[count - 1].lower() in PREFIXES:
        count += 1
    rest = text.split(None, count)
    operands = rest[count] if len(rest) > count else ""
    parts = [part.strip() for part in OPERAND_SPLIT.split(operands)] if operands else []
    return " ".join(words[:count]).lower(), parts


def is_symbol(name: str) -> bool:
    return name.lower() not in REGISTERS and name.lower() not in WORDS


def symbol_names(operand: str) -> list[str]:
    return [value for kind, value in tokens(operand) if kind == "name" and is_symbol(value)]


def normalise(operand: str) -> str:
    """Write every number in hexadecimal."""
    return " ".join(hex(number_value(v)) if kind == "number" else v for kind, v in tokens(operand))


def encode_plain(mnemonic: str, operands: list[str], bits: int, text: str) -> bytes:
    """No symbols: keystone alone, but for absolute addresses in 64-bit code."""
    for i, operand in enumerate(operands):
        bracket = re.search(r"\[([^\]]*)\]", operand)
        if bits == 64 and bracket and not names_in(bracket[1]):
            value = parse_sum(bracket[1]).number
            place = f"{operand[: bracket.start()]}[rip + {STAND_IN[4]}]"
            code = _keystone(join(mnemonic, [*operands[:i], place, *operands[i + 1 :]]), bits)
            at = code.find(STAND_IN[4].to_bytes(4, "little")) if code else -1
            if at > 0:
                return absolute(code, at, (value & 0xFFFFFFFF).to_bytes(4, "little"))
    code = _keystone(join(mnemonic, operands), bits)
    if code is None:
        raise AsmError(f"keystone does not take `{' '.join(text.split())}`")
    return descriptor_load(mnemonic, code, bits)


def names_in(text: str) -> list[str]:
    return [value for kind, value in tokens(text) if kind == "name"]


def absolute(code: bytes, at: int, displacement: bytes) -> bytes:
    """Turn a ModRM that says [rip + disp32] into one with a SIB byte that says [disp32]."""
    modrm = code[at - 1] & 0xF8 | 4
    return code[: at - 1] + bytes([modrm, 0x25]) + displacement + code[at + 4 :]


def descriptor_load(mnemonic: str, code: bytes, bits: int) -> bytes:
    """Keystone puts an operand-size prefix on 32-bit lgdt and lidt, which would cut the base to 24
    bits.
    """
    if bits == 32 and mnemonic in ("lgdt", "lidt", "sgdt", "sidt") and code[0] == 0x66:
        return code[1:]
    return code


def join(mnemonic: str, operands: list[str]) -> str:
    return f"{mnemonic} {', '.join(normalise(operand) for operand in operands)}".strip()


def far_jump(operands: list[str], size: int, bits: int) -> Encoded:
    prefix = b"\x66" if size == 4 and bits == 16 else b""
    selector = parse_sum(operands[0]).number.to_bytes(2, "little")
    fixup = Fixup(len(prefix) + 1, size, parse_sum(operands[1]), False, False, False)
    return Encoded(prefix + b"\xea" + bytes(size) + selector, (fixup,))


def encode_symbol(mnemonic: str, operands: list[str], index: int, bits: int) -> Encoded:
    """Encode with a stand-in for the symbol, trying field sizes until one shows up in the code."""
    operand, word = operands[index], mnemonic.split()[-1]
    if BRANCH.match(word) and "[" not in operand:
        return encode_branch(mnemonic, word, operand, bits)
    head, total, tail = split_operand(operand)
    registers = [name for name in names_in(operand) if name.lower() in REGISTERS]
    bare = bits == 64 and "[" in operand and not set(registers) - SEGMENTS
    for size in (8, 4, 2) if word == "movabs" else (4, 2):
        filler = f"{head}{'rip + ' if bare else ''}{STAND_IN[size]}{tail}"
        code = _keystone(join(mnemonic, [*operands[:index], filler, *operands[index + 1 :]]), bits)
        at = code.find(STAND_IN[size].to_bytes(size, "little")) if code else -1
        if at < 0:
            continue
        if bare:
            code, at = absolute(code, at, bytes(size)), at + 1
        mended = descriptor_load(mnemonic, code, bits)
        at -= len(code) - len(mended)
        fixup = Fixup(at, size, total, "rip" in registers, False, bits == 64 and size == 4)
        return Encoded(blank(mended, at, size), (fixup,))
    raise AsmError(f"keystone does not take `{mnemonic} {', '.join(operands)}`")


def split_operand(operand: str) -> tuple[str, Sum, str]:
    """Separate `dword ptr [rbx*4 + table + 8]` into `dword ptr [rbx*4 + `, `table + 8`, `]`."""
    match = re.fullmatch(r"(.*\[)([^\]]*)(\].*)", operand)
    if not match:
        return "", parse_sum(re.sub(r"^\s*offset\b", "", operand)), ""
    kept, moved = [], []
    for sign, term in re.findall(r"([+-]?)\s*([^+-]+)", match[2]):
        registers = [name for name in names_in(term) if not is_symbol(name)]
        (kept if registers else moved).append(f"{sign or '+'} {term.strip()}")
    head = "".join(part + " " for part in kept).removeprefix("+ ")
    return match[1] + head + ("+ " if head else ""), parse_sum(" ".join(moved)), match[3]


def encode_branch(mnemonic: str, word: str, operand: str, bits: int) -> Encoded:
    short = operand.startswith("short ") or bool(SHORT_ONLY.match(word))
    target = parse_sum(operand.removeprefix("short "))
    code = _keystone(f"{mnemonic} {hex(0x10 if short else STAND_IN[4])}", bits)
    if code is None:
        raise AsmError(f"keystone does not take `{mnemonic} {operand}`")
    size = 1 if short else 4
    at = len(code) - size
    return Encoded(blank(code, at, size), (Fixup(at, size, target, True, True, True),))


def blank(code: bytes, at: int, size: int) -> bytes:
    return code[:at] + bytes(size) + code[at + size :]
