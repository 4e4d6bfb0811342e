"""The machine's memory, for tests: frames in a memfd, mapped for real, so that scattered frames
look contiguous.
"""

import ctypes
import mmap
import os

from xen.privcmd import PAGE_SIZE, _libc

MAP_FIXED = 0x10


class Frames:
    """All machine frames. `live` counts the writable mappings of each frame."""

    def __init__(self, count):
        self.fd = os.memfd_create("machine")
        self.count = count
        os.ftruncate(self.fd, count * PAGE_SIZE)
        self.all = memoryview(mmap.mmap(self.fd, count * PAGE_SIZE))
        self.live = {}

    def page(self, mfn):
        """Return the bytes of one frame."""
        return self.all[mfn * PAGE_SIZE : (mfn + 1) * PAGE_SIZE]

    def words(self, mfn):
        """Return one frame as u64s."""
        return self.page(mfn).cast("Q")

    def clear(self, mfn, count=1):
        """Zero some frames."""
        self.all[mfn * PAGE_SIZE : (mfn + count) * PAGE_SIZE] = bytes(count * PAGE_SIZE)


class FrameMapping:
    """What Privcmd.map_foreign returns, over `Frames`."""

    def __init__(self, frames, mfns, writable):
        self.frames, self.mfns, self.writable = frames, list(mfns), writable
        self.size_bytes = len(self.mfns) * PAGE_SIZE
        flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
        self.address = _libc.mmap(None, self.size_bytes, 0, flags, -1, 0)
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        for start, count in self._runs():
            _libc.mmap(
                self.address + start * PAGE_SIZE,
                count * PAGE_SIZE,
                protection,
                mmap.MAP_SHARED | MAP_FIXED,
                frames.fd,
                self.mfns[start] * PAGE_SIZE,
            )
        whole = (ctypes.c_ubyte * self.size_bytes).from_address(self.address)
        self.view = memoryview(whole).cast("B")
        self._count(1)

    def _runs(self):
        start = 0
        for index in range(1, len(self.mfns) + 1):
            if index == len(self.mfns) or self.mfns[index] != self.mfns[index - 1] + 1:
                yield start, index - start
                start = index

    def _count(self, step):
        if self.writable:
            for mfn in self.mfns:
                self.frames.live[mfn] = self.frames.live.get(mfn, 0) + step

    def close(self):
        if self.address is not None:
            self._count(-1)
            self.view.release()
            _libc.munmap(self.address, self.size_bytes)
            self.address = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
