"""Finds function, file and line of a code address in the table that `linetable.encode` describes.

The reader serves a program that is about to stop, so nothing in the table is trusted: whatever lies
outside counts as zero, every loop ends, and a damaged table gives wrong names, never a fault.
"""

from kpy import Array, Ptr, Slice, i64, inline, ref, struct, truncate, u8, u64, wrapping_add

from linetable.encode import (
    ADVANCE,
    ENTER,
    HEADER,
    LEAST_LINES,
    LEAVE,
    MAGIC,
    MAX_DEPTH,
    STEP_LINES,
    STEPS,
)

HEADER_BYTES = HEADER.size
FUNCTION_BYTES = 8
ROUTINE_BYTES = 4
FILE_BYTES = 2
LONGEST_ULEB = 9


@struct
class Place:
    """A routine, and the line in it."""

    routine: u64  # number of the routine
    line: u64


@struct
class Frames:
    """Where an address is: frame 0 is the function, each further one is inlined into the last."""

    count: u64
    places: Array[Place, MAX_DEPTH]
    offset: u64  # of the address in the function


@struct
class Cursor:
    """A place in the table."""

    table: Slice[u8]
    at: u64

    def byte(self) -> u64:
        """Read a byte."""
        self.at = wrapping_add(self.at, 1)
        return byte_at(self.table, self.at - 1)

    def uleb(self) -> u64:
        """Read a number of seven bits a byte."""
        value: u64 = 0
        for i in range(LONGEST_ULEB):
            byte = self.byte()
            value |= (byte & 0x7F) << (7 * i)
            if byte < 0x80:
                break
        return value

    def sleb(self) -> i64:
        """Read a signed number: the sign is the lowest bit."""
        value = self.uleb()
        half = truncate(i64, value >> 1)
        return half if value & 1 == 0 else -half - 1


@inline
def byte_at(table: Slice[u8], offset: u64) -> u64:
    """Return a byte of the table, 0 outside."""
    return u64(table[offset]) if offset < len(table) else 0


def number_at(table: Slice[u8], offset: u64, size: u64) -> u64:
    """Return a number of so many bytes."""
    value: u64 = 0
    for i in range(size):
        value |= byte_at(table, wrapping_add(offset, i)) << (8 * i)
    return value


def text_at(table: Slice[u8], offset: u64) -> Slice[u8]:
    """Return the text whose length byte is at an offset; empty if it does not fit."""
    start = wrapping_add(offset, 1)
    end = wrapping_add(start, byte_at(table, offset))
    return table[start:end] if start <= end <= len(table) else table[0:0]


@inline
def nr_functions(table: Slice[u8]) -> u64:
    return number_at(table, 8, 4)


@inline
def routines_start(table: Slice[u8]) -> u64:
    return HEADER_BYTES + (nr_functions(table) + 1) * FUNCTION_BYTES


@inline
def files_start(table: Slice[u8]) -> u64:
    return routines_start(table) + number_at(table, 12, 4) * ROUTINE_BYTES


@inline
def text_start(table: Slice[u8]) -> u64:
    return files_start(table) + number_at(table, 16, 4) * FILE_BYTES


def routine_name(table: Slice[u8], routine: u64) -> Slice[u8]:
    """Return the name of a routine."""
    record = wrapping_add(routines_start(table), (routine & 0xFFFF) * ROUTINE_BYTES)
    return text_at(table, text_start(table) + number_at(table, record, 2))


def file_name(table: Slice[u8], routine: u64) -> Slice[u8]:
    """Return the path of the file that a routine is in; empty where it is not known."""
    record = wrapping_add(routines_start(table), (routine & 0xFFFF) * ROUTINE_BYTES)
    file = number_at(table, record + 2, 2)
    name = number_at(table, files_start(table) + file * FILE_BYTES, 2)
    return text_at(table, text_start(table) + name)


def function_start(table: Slice[u8], index: u64) -> u64:
    """Return where a function starts, from the first byte of code."""
    return number_at(table, HEADER_BYTES + index * FUNCTION_BYTES, 4)


def program_offset(table: Slice[u8], index: u64) -> u64:
    """Return where a function's program is in the table."""
    return number_at(table, HEADER_BYTES + index * FUNCTION_BYTES + 4, 4)


def find_frames(table: Slice[u8], address: u64, frames: Ptr[Frames]) -> bool:
    """Find where a code address is in the source.

    Returns: whether any function of the program holds it.
    """
    base = number_at(table, 20, 8)
    if number_at(table, 0, 4) != MAGIC or address < base:
        return False
    target = address - base
    low: u64 = 0
    high = nr_functions(table)
    if target < function_start(table, low) or target >= function_start(table, high):
        return False
    while high - low > 1:
        middle = (low + high) // 2
        if function_start(table, middle) <= target:
            low = middle
        else:
            high = middle
    frames.offset = target - function_start(table, low)
    cursor = Cursor(table=table, at=program_offset(table, low))
    run_program(ref(cursor), min(program_offset(table, low + 1), len(table)), frames)
    return True


def run_program(cursor: Ptr[Cursor], end: u64, frames: Ptr[Frames]) -> None:
    """Run a function's program up to the address that is `frames.offset` bytes into it."""
    frames.count = 1
    frames.places[0].routine = cursor.uleb()
    frames.places[0].line = cursor.uleb()
    code_bytes: u64 = 0
    while cursor.at < end:
        operation = cursor.byte()
        step: u64 = 0
        lines: i64 = 0
        if operation < STEPS:
            step = operation // STEP_LINES + 1
            lines = i64(operation % STEP_LINES) + LEAST_LINES
        elif operation == ADVANCE:
            step = cursor.uleb()
            lines = cursor.sleb()
        elif operation == ENTER:
            enter_call(cursor, frames)
        elif operation == LEAVE and frames.count > 1:
            frames.count -= 1
        code_bytes = wrapping_add(code_bytes, step)
        if code_bytes > frames.offset:
            return
        change_line(ref(frames.places[frames.count - 1]), lines)


def enter_call(cursor: Ptr[Cursor], frames: Ptr[Frames]) -> None:
    """Push an inlined call; one that is nested too deeply replaces the deepest."""
    change_line(ref(frames.places[frames.count - 1]), cursor.sleb())
    if frames.count < MAX_DEPTH:
        frames.count += 1
    place = ref(frames.places[frames.count - 1])
    place.routine = cursor.uleb()
    place.line = cursor.uleb()


@inline
def change_line(place: Ptr[Place], lines: i64) -> None:
    place.line = wrapping_add(place.line, truncate(u64, lines))
