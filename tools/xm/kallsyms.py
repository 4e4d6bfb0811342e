"""A stripped Linux kernel's symbols, out of its own kallsyms, as an ELF file that gdb loads."""

import struct
from pathlib import Path

from dwarf.kallsyms import find_symbols

STT_NOTYPE, STT_FUNC, STB_GLOBAL = 0, 2, 1
SHN_ABS = 0xFFF1
NOBITS, SYMTAB, STRTAB = 8, 2, 3


def file_for_gdb(path, folder):
    """Return a kernel file that has symbols: the one given, or if it is a stripped Linux's, one
    made in `folder` of the names in its kallsyms.
    """
    image = Path(path).read_bytes()
    symbols = find_symbols(image) if is_stripped(image) else {}
    if not symbols:
        return str(path)
    made = Path(folder, f"{Path(path).stem}.symbols.elf")
    made.write_bytes(make_elf(symbols))
    return str(made)


def is_stripped(image):
    """Tell whether an ELF file has no table of symbols."""
    try:
        (at,) = struct.unpack_from("<Q", image, 40)
        size, count = struct.unpack_from("<HH", image, 58)
        kinds = [struct.unpack_from("<I", image, at + i * size + 4)[0] for i in range(count)]
    except struct.error:
        return True
    return SYMTAB not in kinds


def make_elf(symbols):
    """Return an ELF file with these symbols and no contents: gdb reads those from the guest."""
    functions = [address for address, kind in symbols.values() if kind in "tTwW"]
    start, end = min(functions), max(functions) + 4096
    names, table = bytearray(b"\0.text\0"), bytearray(24)
    for name, (address, kind) in symbols.items():
        is_function = kind in "tTwW"
        info = STB_GLOBAL << 4 | (STT_FUNC if is_function else STT_NOTYPE)
        section = 1 if is_function else SHN_ABS
        table += struct.pack("<IBBHQQ", len(names), info, 0, section, address, 0)
        names += name.encode("latin-1") + b"\0"
    at_table, at_names = 64, 64 + len(table)
    at_sections = (at_names + len(names) + 7) & ~7
    sections = (
        bytes(64)
        + struct.pack("<IIQQQQIIQQ", 1, NOBITS, 6, start, 64, end - start, 0, 0, 16, 0)
        + struct.pack("<IIQQQQIIQQ", 0, SYMTAB, 0, 0, at_table, len(table), 3, 1, 8, 24)
        + struct.pack("<IIQQQQIIQQ", 0, STRTAB, 0, 0, at_names, len(names), 0, 0, 1, 0)
    )
    ident = b"\x7fELF" + bytes([2, 1, 1]) + bytes(9)
    head = struct.pack(
        "<16sHHIQQQIHHHHHH", ident, 2, 62, 1, start, 0, at_sections, 0, 64, 56, 0, 64, 4, 3
    )
    return (head + table + names).ljust(at_sections, b"\0") + sections
