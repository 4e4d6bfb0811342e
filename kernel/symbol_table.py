"""Makes the symbol table that `kernel.symbols` reads, as the last step of linking. Runs on the
build machine.
"""

import struct

from kpy import build_time

from kernel.x86.memlayout import IMAGE_VIRT_START


@build_time
def make_table(symbols):
    """Encode function symbols.

    Args: symbols ([(address, name), …], sorted; the last one, without a name, is the end of the
    code; that one alone, at address 0, when the program is linked for the first time).
    """
    names, offsets = bytearray(), {}
    first_name = 8 * (len(symbols) + 1)
    for _, name in symbols:
        if name not in offsets:
            offsets[name] = first_name + len(names)
            names += name.encode() + b"\0"
    records = [struct.pack("<II", len(symbols), 0)]
    records += [
        struct.pack("<II", address - IMAGE_VIRT_START & 0xFFFFFFFF, offsets[name])
        for address, name in symbols
    ]
    return b"".join(records) + bytes(names)
