"""Makes the table that `linetable.reader` reads. Runs on the build machine, as the last step of
linking.

All numbers are little-endian; text is a length byte and so many bytes:

    header     u32: magic, size of all, functions, routines, files; u64: address of the first code
    functions  two u32 each, by address: start, from the first code on; offset of its program. One
               more ends the code.
    routines   two u16 each, functions and what was inlined into them: offset of the name in the
               text, number of the file
    files      u16 each: offset of the name in the text
    text       names
    programs   one for each function: its routine, its first line, then operations

A program is run from the function's start to the address that is looked for. It keeps a stack of
(routine, line), one for the function and one for each inlined call that the code lies in:

    byte < STEPS   go on by byte // 8 + 1 bytes of code, and by byte % 8 - 3 lines
    ADVANCE        go on by uleb bytes of code, and by sleb lines
    ENTER          the line is a call from here on: change it by sleb, push routine and line (uleb)
    LEAVE          pop one
"""

import struct
from collections import Counter

from kpy import build_time

MAGIC = 0x314C5850  # "PXL1"
HEADER = struct.Struct("<5IQ")
STEPS, ADVANCE, ENTER, LEAVE = 240, 240, 241, 242
STEP_BYTES, STEP_LINES, LEAST_LINES = 30, 8, -3
MAX_DEPTH = 12  # of inlined calls; deeper ones are left out
MAX_TEXT = 255
ONE_BYTE = 128  # numbers that a uleb of one byte holds


@build_time
def make_table(functions, rows):
    """Encode a program's functions and lines.

    Args: functions: [(address, name), …] by address; the last one, without a name, ends the code.
    rows: for each address at which something changes, in order, (address, frames), frames being
    [(routine, file, line), …], outermost first; none for code of no line.
    """
    strings = Strings(often_inlined(rows))
    base, starts = functions[0][0], []
    programs = bytearray()
    for (start, name), (end, _) in zip(functions, functions[1:], strict=False):
        starts.append((start - base, len(programs)))
        own = [row for row in rows.get(start, ()) if row[0] < end]
        programs += Program(strings, start, name).encode(own)
    starts.append((functions[-1][0] - base, len(programs)))
    return assemble(strings, base, starts, bytes(programs))


@build_time
def often_inlined(rows):
    """Return the (routine, file) pairs that take the least room if they get the lowest numbers."""
    inlined = (frame[:2] for own in rows.values() for _, frames in own for frame in frames[1:])
    return [pair for pair, _ in Counter(inlined).most_common(ONE_BYTE)]


@build_time
def assemble(strings, base, starts, programs):
    """Put the parts behind each other, with offsets from the table's first byte."""
    routines = b"".join(struct.pack("<HH", name, file) for name, file in strings.routines)
    files = b"".join(struct.pack("<H", offset) for offset in strings.files)
    before = HEADER.size + 8 * len(starts) + len(routines) + len(files) + len(strings.text)
    records = b"".join(struct.pack("<II", start, before + at) for start, at in starts)
    counts = (len(starts) - 1, len(strings.routines), len(strings.files))
    header = HEADER.pack(MAGIC, before + len(programs), *counts, base)
    return header + records + routines + files + bytes(strings.text) + programs


class Strings:
    """Names of routines and files, each kept once; those in `first` get the lowest numbers."""

    def __init__(self, first=()):
        self.text, self.known = bytearray(), {}
        self.files, self.file_numbers = [], {}
        self.routines, self.routine_numbers = [], {}
        for name, file in first:
            self.routine(name, file)

    def offset(self, text):
        """Return where a text is, adding it if it is new."""
        data = (text or "").encode()[:MAX_TEXT]
        if data not in self.known:
            self.known[data] = len(self.text)
            self.text += bytes([len(data)]) + data
        return self.known[data]

    def file(self, name):
        """Return the number of a file."""
        if name not in self.file_numbers:
            self.file_numbers[name] = len(self.files)
            self.files.append(self.offset(name))
        return self.file_numbers[name]

    def routine(self, name, file):
        """Return the number of a routine in a file."""
        key = (name, file)
        if key not in self.routine_numbers:
            self.routine_numbers[key] = len(self.routines)
            self.routines.append((self.offset(name), self.file(file)))
        return self.routine_numbers[key]


class Program:
    """Encodes the lines of one function."""

    def __init__(self, strings, start, name):
        self.strings, self.address, self.name = strings, start, name
        self.stack = []  # [routine, line]
        self.code = bytearray()

    def encode(self, rows):
        """Return the program for rows as `make_table` takes them."""
        first = next((frames[0] for _, frames in rows if frames), (self.name, None, 0))
        self.stack = [[self.strings.routine(*first[:2]), first[2]]]
        self.code += uleb(self.stack[0][0]) + uleb(first[2])
        for address, frames in rows:
            if frames:
                self.move(address, [(r, f, line) for r, f, line in frames[:MAX_DEPTH]])
        return bytes(self.code)

    def move(self, address, frames):
        """Go on to an address whose frames are these."""
        wanted = [(self.strings.routine(routine, file), line) for routine, file, line in frames]
        common = 1
        while common < min(len(wanted), len(self.stack)) and self.same(wanted, common):
            common += 1
        stays = common == len(wanted) == len(self.stack)
        if stays and address != self.address:
            self.advance(address - self.address, wanted[-1][1] - self.stack[-1][1])
        else:
            if address != self.address:
                self.advance(address - self.address, 0)
            while len(self.stack) > common:
                self.code.append(LEAVE)
                self.stack.pop()
            if stays or len(wanted) == common:
                self.advance(0, wanted[-1][1] - self.stack[-1][1])
            for caller, (routine, line) in zip(wanted[common - 1 :], wanted[common:], strict=False):
                delta = caller[1] - self.stack[-1][1]
                self.code += bytes([ENTER]) + sleb(delta) + uleb(routine) + uleb(line)
                self.stack[-1][1] = caller[1]
                self.stack.append([routine, line])
        self.stack[-1][1] = wanted[-1][1]
        self.address = address

    def same(self, wanted, depth):
        """Say whether the inlined call at a depth is the open one: its routine and call line."""
        open_call = self.stack[depth][0], self.stack[depth - 1][1]
        return open_call == (wanted[depth][0], wanted[depth - 1][1])

    def advance(self, code_bytes, lines):
        """Append an operation that goes on, the shortest that can."""
        if code_bytes == lines == 0:
            return
        step = lines - LEAST_LINES
        if 1 <= code_bytes <= STEP_BYTES and 0 <= step < STEP_LINES:
            self.code.append((code_bytes - 1) * STEP_LINES + step)
        else:
            self.code += bytes([ADVANCE]) + uleb(code_bytes) + sleb(lines)


@build_time
def uleb(value):
    """Encode a number, seven bits a byte."""
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


@build_time
def sleb(value):
    """Encode a signed number as an unsigned one, the sign in the lowest bit."""
    return uleb(value << 1 if value >= 0 else (-value << 1) - 1)
