"""From a code address to function, file and line, calls that were inlined included.

What a file does not say is left out: without DWARF only the names of functions are known, without a
symbol table nothing is. Of a large kernel only the names are read, which takes no minutes.
"""

import bisect
import contextlib
import os
from collections import defaultdict
from dataclasses import dataclass

from dwarf.image import Image
from dwarf.inlines import Calls, read_calls
from dwarf.lines import read_units

LARGEST_DEBUG_BYTES = 16 << 20


@dataclass(frozen=True)
class Frame:
    """A function, and where in it; `file` is None and `line` 0 where that is unknown."""

    function: str
    offset: int  # from the function's start, of the frame that is no inlined call
    file: str | None
    line: int


@dataclass(frozen=True)
class Row:
    """Code from an address on, up to the next row."""

    address: int
    file: str | None
    line: int


class SourceMap:
    """The source of one ELF file's code.

    Errors: OSError; `dwarf.bytes.Truncated`, it is no ELF file. Broken DWARF counts as none.
    """

    def __init__(self, path, root=""):
        self.root = root.rstrip("/") + "/" if root else ""
        self.image = Image(path)
        self.functions = self.image.functions()
        self._starts = [function.address for function in self.functions]
        self.files = {}
        calls, self.rows = Calls([], {}, {}), []
        if self._is_small():
            with contextlib.suppress(ValueError, LookupError):  # Truncated is a ValueError
                calls = read_calls(self.image)
                self.rows = self._read_rows(calls.folders)
        self.names = calls.names
        self._row_starts = [row.address for row in self.rows]
        self._inlined = defaultdict(list)
        for call in calls.inlined:
            if function := self.function(call.low):
                self._inlined[function.address].append(call)

    def _is_small(self):
        """Say whether the debug information can be read while somebody waits."""
        sections = (self.image.section(name) for name in (".debug_info", ".debug_line"))
        return sum(map(len, sections)) <= LARGEST_DEBUG_BYTES

    def _read_rows(self, folders):
        rows = []
        for offset, files, unit in read_units(self.image):
            folder = folders.get(offset, "")
            paths = [p and os.path.join(folder, p).removeprefix(self.root) for p in files]
            self.files[offset] = paths
            previous = None
            for address, file, line in unit:
                known = file is not None and line and file < len(paths)
                here = (paths[file], line) if known else (None, 0)
                if previous and rows[-1].address == address:
                    rows.pop()
                elif previous == here:
                    continue
                rows.append(Row(address, *here))
                previous = here if file is not None else None
        rows = [row for row in rows if row.address]  # what the linker dropped begins at 0
        return sorted(rows, key=lambda row: (row.address, row.file is not None))

    def function(self, address):
        """Return the Function that holds an address, or None."""
        index = bisect.bisect_right(self._starts, address) - 1
        if index < 0 or address >= self.functions[index].end:
            return None
        return self.functions[index]

    def name(self, function):
        """Return what a function is called in its source; the symbol where that says nothing."""
        return self.names.get(function.address) or function.name

    def row(self, address):
        """Return the Row that an address lies in, or None."""
        index = bisect.bisect_right(self._row_starts, address) - 1
        return self.rows[index] if index >= 0 else None

    def calls(self, function, address):
        """Return the inlined calls that an address of a function lies in, outermost first."""
        calls = self._inlined[function.address]
        return sorted((c for c in calls if c.low <= address < c.high), key=lambda c: c.depth)

    def changes(self, function):
        """Return the addresses of a function at which its line or inlined calls change."""
        first = bisect.bisect_left(self._row_starts, function.address)
        last = bisect.bisect_left(self._row_starts, function.end)
        calls = self._inlined[function.address]
        edges = {edge for call in calls for edge in (call.low, call.high)}
        edges = {edge for edge in edges if function.address < edge < function.end}
        return sorted({function.address, *edges, *self._row_starts[first:last]})

    def find(self, address):
        """Return the Frames of an address, innermost first; none if no function holds it."""
        function = self.function(address)
        if function is None:
            return []
        row = self.row(address)
        file, line = (row.file, row.line) if row else (None, 0)
        frames, offset = [], address - function.address
        for call in reversed(self.calls(function, address)):
            frames.append(Frame(call.name, 0, file, line))
            file, line = self._call_file(call), call.call_line
        return [*frames, Frame(self.name(function), offset, file, line)]

    def _call_file(self, call):
        table, number = call.call_file
        files = self.files.get(table, ())
        return files[number] if number < len(files) else None
