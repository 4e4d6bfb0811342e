"""Makes what libos.symbols reads, as the last step of linking. Runs on the build machine."""

import struct

from kpy import build_time


@build_time
def make_table(symbols):
    """Encode function symbols.

    Args: symbols ([(address, name), …], sorted; the last one, without a name, is the end of the
    code).
    """
    start, first_name = symbols[0][0], 8 * (len(symbols) + 1)
    records, names = struct.pack("<II", len(symbols), 0), b""
    for address, name in symbols:
        records += struct.pack("<II", address - start, first_name + len(names))
        names += name.encode() + b"\0"
    return records + names
