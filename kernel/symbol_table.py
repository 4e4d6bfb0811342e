"""Makes the symbol table that `kernel.symbols` reads, as the last step of linking. Runs on the build machine."""

import struct

from kpy import build_time


@build_time
def make_table(symbols):
    """Encode function symbols.

    Args: symbols ([(address, name), …], sorted; the last one, without a name, is the end of the code).
    """
    start = symbols[0][0]
    names, offsets = bytearray(), {}
    first_name = 8 * (len(symbols) + 1)
    for _, name in symbols:
        if name not in offsets:
            offsets[name] = first_name + len(names)
            names += name.encode() + b"\0"
    records = [struct.pack("<II", len(symbols), 0)]
    records += [struct.pack("<II", address - start, offsets[name]) for address, name in symbols]
    return b"".join(records) + bytes(names)
