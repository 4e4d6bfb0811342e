"""The program's own source lines by address, for backtraces: the table that the linking step makes
of the debug information (`linetable/encode.py`).
"""

from kpy import Slice, cold, ref, static, u8, u64, uninitialized

from libos.console import say
from linetable.reader import Frames, file_name, find_frames, routine_name

symbol_table_start = static(u8, extern=True, symbol="symbol_table_start")
symbol_table_end = static(u8, extern=True, symbol="symbol_table_end")


def line_table() -> Slice[u8]:
    """Return the table; the linker script bounds it."""
    start = u64(ref(symbol_table_start))
    return Slice[u8](ref(symbol_table_start), u64(ref(symbol_table_end)) - start)


@cold
def print_address(address: u64, inside: u64) -> None:
    """Print an address of code with its source, inlined calls first.

    Args: inside: an address within the instruction that is meant.
    """
    frames = uninitialized(Frames)
    table = line_table()
    if not find_frames(table, inside, ref(frames)):
        say(f"  {address:#018x}")
        return
    for i in reversed(range(frames.count)):
        place = ref(frames.places[i])
        name = routine_name(table, place.routine)
        file = file_name(table, place.routine)
        if i != 0:
            say(f"  {address:#018x} {name} (inlined) {file}:{place.line}")
        else:
            offset = address - inside + frames.offset
            say(f"  {address:#018x} {name}+{offset:#x} {file}:{place.line}")
