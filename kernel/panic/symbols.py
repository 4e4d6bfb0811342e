"""The core's own source lines by address, for backtraces: the table that the linking step makes of
the debug information (`linetable/encode.py`).
"""

from kpy import Ptr, Slice, ref, static, u8, u64

from linetable.reader import Frames, file_name, find_frames, routine_name

symbol_table_start = static(u8, extern=True, symbol="symbol_table_start")
symbol_table_end = static(u8, extern=True, symbol="symbol_table_end")


def line_table() -> Slice[u8]:
    """Return the table; the linker script bounds it."""
    start = u64(ref(symbol_table_start))
    return Slice[u8](ref(symbol_table_start), u64(ref(symbol_table_end)) - start)


def find_source(address: u64, frames: Ptr[Frames]) -> bool:
    """Find where in the source an address of the core's code is.

    Returns: False when it is no address of the core's code.
    """
    return find_frames(line_table(), address, frames)


def name_of(routine: u64) -> Slice[u8]:
    """Return the name of a routine of `Frames`."""
    return routine_name(line_table(), routine)


def file_of(routine: u64) -> Slice[u8]:
    """Return the path of its file."""
    return file_name(line_table(), routine)
