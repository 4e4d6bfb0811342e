"""The registers of a vCPU as gdb numbers them, in and out of a vcpu_guest_context.

Source: GDB manual, appendix G.5.15 (i386 features); Intel SDM vol 1 10.5.1 (the FXSAVE area).
"""

from collections.abc import Callable
from dataclasses import dataclass

import xen_codecs as abi

_GENERAL = ["rax", "rbx", "rcx", "rdx", "rsi", "rdi", "rbp", "rsp"]
_GENERAL += [*(f"r{number}" for number in range(8, 16)), "rip"]
SEGMENT_NAMES = ["cs", "ss", "ds", "es", "fs", "gs"]
_X87_CONTROL = {"fctrl": 0, "fstat": 2, "ftag": 4, "fop": 6, "fioff": 8, "fiseg": 12}
_X87_CONTROL |= {"fooff": 16, "foseg": 20}
_X87_NAMES = ["fctrl", "fstat", "ftag", "fiseg", "fioff", "foseg", "fooff", "fop"]
_MXCSR, _ST0, _XMM0 = 24, 32, 160
_KERNEL = abi.VGCF_in_kernel


@dataclass(frozen=True)
class Register:
    """One register: how gdb calls it, its size, and where it is."""

    name: str
    bits: int
    type: str
    get: Callable
    put: Callable


def _word(name, bits, type_, attribute=None):
    attribute = attribute or name

    def get(context):
        return getattr(context.user_regs, attribute)

    def put(context, value):
        setattr(context.user_regs, attribute, value)

    return Register(name, bits, type_, get, put)


def _fpu(name, bits, type_, offset, size):
    """A register in the FXSAVE area; `size` bytes of it are stored."""

    def get(context):
        return int.from_bytes(bytes(_area(context)[offset : offset + size]), "little")

    def put(context, value):
        kept = value & (1 << 8 * size) - 1
        _area(context)[offset : offset + size] = kept.to_bytes(size, "little")

    return Register(name, bits, type_, get, put)


def _area(context):
    return memoryview(context.fpu_ctxt).cast("B")


def _ftag():
    """The tag word has two bits for each register, the FXSAVE area one: 0 is empty."""
    inner = _fpu("ftag", 32, "int", _X87_CONTROL["ftag"], 1)

    def get(context):
        full = inner.get(context)
        return sum((0 if full >> i & 1 else 3) << 2 * i for i in range(8))

    def put(context, value):
        inner.put(context, sum((value >> 2 * i & 3 != 3) << i for i in range(8)))

    return Register("ftag", 32, "int", get, put)


def _base(name):
    """fs_base, or the gs_base of the mode that the vCPU is in."""

    def attribute(context):
        if name == "fs_base":
            return name
        return "gs_base_kernel" if context.flags & _KERNEL else "gs_base_user"

    def get(context):
        return getattr(context, attribute(context))

    def put(context, value):
        setattr(context, attribute(context), value)

    return Register(name, 64, "int", get, put)


def _x87(name):
    if name == "ftag":
        return _ftag()
    size = 4 if name in ("fioff", "fooff") else 2
    return _fpu(name, 32, "int", _X87_CONTROL[name], size)


_TYPES = {"rip": "code_ptr", "rsp": "data_ptr", "rbp": "data_ptr"}
CORE = [
    *(_word(name, 64, _TYPES.get(name, "int64")) for name in _GENERAL),
    _word("eflags", 32, "i386_eflags", "rflags"),
    *(_word(name, 32, "int32") for name in SEGMENT_NAMES),
    *(_fpu(f"st{i}", 80, "i387_ext", _ST0 + 16 * i, 10) for i in range(8)),
    *(_x87(name) for name in _X87_NAMES),
]
SSE = [
    *(_fpu(f"xmm{i}", 128, "vec128", _XMM0 + 16 * i, 16) for i in range(16)),
    _fpu("mxcsr", 32, "i386_mxcsr", _MXCSR, 4),
]
SEGMENTS = [_base("fs_base"), _base("gs_base")]
REGISTERS = [*CORE, *SSE, *SEGMENTS]
FEATURES = {
    "org.gnu.gdb.i386.core": CORE,
    "org.gnu.gdb.i386.sse": SSE,
    "org.gnu.gdb.i386.segments": SEGMENTS,
}


def read(context, number):
    """Return one register as gdb's hexadecimal digits, least byte first."""
    register = REGISTERS[number]
    value = register.get(context) & (1 << register.bits) - 1
    return value.to_bytes(register.bits // 8, "little").hex()


def write(context, number, digits):
    """Set one register from gdb's digits.

    Errors: ValueError, they are not as many as the register has.
    """
    register, data = REGISTERS[number], bytes.fromhex(digits)
    if len(data) != register.bits // 8:
        raise ValueError(f"{register.name} has {register.bits // 8} bytes, not {len(data)}")
    register.put(context, int.from_bytes(data, "little"))


def read_all(context):
    """Return all registers, for gdb's `g`."""
    return "".join(read(context, number) for number in range(len(REGISTERS)))


def write_all(context, digits):
    """Set registers from the start of gdb's list, as many as there are digits for."""
    at = 0
    for number, register in enumerate(REGISTERS):
        size = register.bits // 4
        if at + size > len(digits):
            return
        write(context, number, digits[at : at + size])
        at += size


def _flags(name, bits):
    fields = "".join(f'<field name="{field}" start="{bit}" end="{bit}"/>' for field, bit in bits)
    return f'<flags id="{name}" size="4">{fields}</flags>'


_EFLAGS = (("CF", 0), ("", 1), ("PF", 2), ("AF", 4), ("ZF", 6), ("SF", 7), ("TF", 8), ("IF", 9))
_EFLAGS += (("DF", 10), ("OF", 11), ("NT", 14), ("RF", 16), ("VM", 17), ("AC", 18), ("ID", 21))
_MXCSR_BITS = (("IE", 0), ("DE", 1), ("ZE", 2), ("OE", 3), ("UE", 4), ("PE", 5), ("DAZ", 6))
_MXCSR_BITS += (("IM", 7), ("DM", 8), ("ZM", 9), ("OM", 10), ("UM", 11), ("PM", 12), ("FZ", 15))
_VECTORS = (("v4f", "ieee_single", 4), ("v2d", "ieee_double", 2), ("v16i8", "int8", 16))
_VECTORS += (("v8i16", "int16", 8), ("v4i32", "int32", 4), ("v2i64", "int64", 2))


def _vec128():
    vectors = "".join(
        f'<vector id="{name}" type="{element}" count="{count}"/>'
        for name, element, count in _VECTORS
    )
    names = ("v4_float", "v2_double", "v16_int8", "v8_int16", "v4_int32", "v2_int64")
    pairs = zip(names, _VECTORS, strict=True)
    fields = "".join(f'<field name="{name}" type="{made[0]}"/>' for name, made in pairs)
    return f'{vectors}<union id="vec128">{fields}<field name="uint128" type="uint128"/></union>'


def _feature(name, registers):
    types = ""
    if registers is CORE:
        types = _flags("i386_eflags", _EFLAGS)
    elif registers is SSE:
        types = _vec128() + _flags("i386_mxcsr", _MXCSR_BITS)
    regs = "".join(
        f'<reg name="{reg.name}" bitsize="{reg.bits}" type="{reg.type}"/>' for reg in registers
    )
    return f'<feature name="{name}">{types}{regs}</feature>'


TARGET_XML = (
    '<?xml version="1.0"?><!DOCTYPE target SYSTEM "gdb-target.dtd"><target version="1.0">'
    "<architecture>i386:x86-64</architecture>"
    + "".join(_feature(name, registers) for name, registers in FEATURES.items())
    + "</target>"
)
