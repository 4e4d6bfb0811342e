"""Trace files: the format that Xen's `xentrace` writes, and xend streams.

A file is a series of blocks, each TRC_TRACE_CPU_CHANGE with a processor and a size, then so many
bytes of its records. A processor's records are in order of time; those of different ones are not.
`Spool` keeps each processor's on disk, so that a long trace needs no memory, and merges them.
"""

import heapq
import struct
import tempfile
from typing import NamedTuple

from xentrace.abi_codecs import abi

CPU_CHANGE_BYTES = 12
PIECE_BYTES = 1 << 20
WORDS = [struct.Struct(f"<{n}I") for n in range(abi.TRACE_EXTRA_MAX + 1)]
EVENT_MASK = (1 << abi.TRACE_EXTRA_SHIFT) - 1


class BadTrace(Exception):
    """These bytes are no trace file."""


class Record(NamedTuple):
    """One event: TSC, processor, number, and its own words."""

    tsc: int
    cpu: int
    event: int
    words: tuple


def parse_records(cpu, data):
    """Yield the records with a time stamp in one processor's bytes.

    Returns: how many bytes at the end are no whole record (the generator's value).
    """
    at, end = 0, len(data)
    while at + 4 <= end:
        header = WORDS[1].unpack_from(data, at)[0]
        nr_words = header >> abi.TRACE_EXTRA_SHIFT & abi.TRACE_EXTRA_MAX
        has_time = header & abi.TRC_HD_CYCLE_FLAG
        size = 4 + (8 if has_time else 0) + 4 * nr_words
        if at + size > end:
            break
        if has_time:
            low, high = WORDS[2].unpack_from(data, at + 4)
            words = WORDS[nr_words].unpack_from(data, at + 12)
            yield Record(low | high << 32, cpu, header & EVENT_MASK, words)
        at += size
    return end - at


class Spool:
    """A trace on its way to those who read it: fed with pieces, then iterated in order of time."""

    def __init__(self):
        self.files, self.pending, self.cpu, self.left = {}, b"", 0, 0
        self.nr_bytes = 0

    def feed(self, data):
        """Take the next bytes of a trace file. Errors: BadTrace."""
        self.nr_bytes += len(data)
        data = self.pending + data
        while data:
            if self.left == 0:
                if len(data) < CPU_CHANGE_BYTES:
                    break
                header, self.cpu, self.left = WORDS[3].unpack_from(data)
                if header & EVENT_MASK != abi.TRC_TRACE_CPU_CHANGE:
                    raise BadTrace(f"a trace file has {header:#x} where a processor should begin")
                data = data[CPU_CHANGE_BYTES:]
            piece = data[: self.left]
            self._file().write(piece)
            self.left -= len(piece)
            data = data[len(piece) :]
        self.pending = data

    def _file(self):
        if self.cpu not in self.files:
            self.files[self.cpu] = tempfile.TemporaryFile(prefix="xm-trace-")  # noqa: SIM115
        return self.files[self.cpu]

    def __iter__(self):
        """Yield all records in order of time."""
        streams = [self._records(cpu) for cpu in sorted(self.files)]
        return heapq.merge(*streams, key=lambda record: record.tsc)

    def _records(self, cpu):
        """Yield one processor's records, a piece of its file after the other."""
        file, at, rest = self.files[cpu], 0, b""
        while True:
            file.seek(at)  # each time: several readers may share the file
            piece = file.read(PIECE_BYTES)
            if not piece:
                return
            at += len(piece)
            data = rest + piece
            unread = yield from parse_records(cpu, data)
            rest = data[len(data) - unread :] if unread else b""

    def close(self):
        """Drop everything."""
        for file in self.files.values():
            file.close()
