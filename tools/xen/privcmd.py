"""Hypercalls and foreign memory from user space, through /dev/xen/privcmd.

A hypercall's arguments must stay in memory while the hypervisor reads them, so they live in an
arena that is mapped from /dev/xen/hypercall, whose pages Linux never moves. The arena is a stack:
`scratch()` opens a frame on it, and leaving the `with` drops everything that was made in it.

Xen's error numbers are Linux's, and privcmd hands them on, so a failed call is an OSError with
Xen's own errno.
"""

import ctypes
import errno
import fcntl
import mmap
import os
import threading
from array import array
from contextlib import contextmanager

PAGE_SIZE = 4096
ARENA_PAGES = 512

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


class privcmd_hypercall(ctypes.Structure):
    """Argument of IOCTL_PRIVCMD_HYPERCALL."""

    _fields_ = [("op", ctypes.c_uint64), ("arg", ctypes.c_uint64 * 5)]


class privcmd_mmapbatch_v2(ctypes.Structure):
    """Argument of IOCTL_PRIVCMD_MMAPBATCH_V2."""

    _fields_ = [
        ("num", ctypes.c_uint),
        ("dom", ctypes.c_uint16),
        ("addr", ctypes.c_uint64),
        ("arr", ctypes.c_uint64),
        ("err", ctypes.c_uint64),
    ]


class privcmd_mmap_resource(ctypes.Structure):
    """Argument of IOCTL_PRIVCMD_MMAP_RESOURCE."""

    _fields_ = [
        ("dom", ctypes.c_uint16),
        ("type", ctypes.c_uint32),
        ("id", ctypes.c_uint32),
        ("idx", ctypes.c_uint32),
        ("num", ctypes.c_uint64),
        ("addr", ctypes.c_uint64),
    ]


def _ioc(number, argument):
    """Return the request number of _IOC(_IOC_NONE, 'P', number, sizeof(argument))."""
    return ctypes.sizeof(argument) << 16 | ord("P") << 8 | number


IOCTL_PRIVCMD_HYPERCALL = _ioc(0, privcmd_hypercall)
IOCTL_PRIVCMD_MMAPBATCH_V2 = _ioc(4, privcmd_mmapbatch_v2)
IOCTL_PRIVCMD_MMAP_RESOURCE = _ioc(7, privcmd_mmap_resource)


class HypercallError(OSError):
    """The hypervisor refused a call; `errno` is Xen's, `operation` the call's ABI name."""

    def __init__(self, number, operation):
        super().__init__(number, os.strerror(number))
        self.operation = operation

    def __str__(self):
        name = errno.errorcode.get(self.errno, str(self.errno))
        return f"{self.operation} failed with {name} ({self.strerror})"


class Mapping:
    """Some frames of another domain in our address space, until `close()` or the end of a `with`.

    `view` is a memoryview of bytes. No slice of it may be used after close: the pages are gone.
    Mappings must be short: while one lives, the frame's owner cannot be freed and the frame cannot
    become a page table.
    """

    def __init__(self, fd, nr_frames, writable=True):
        self.size_bytes = nr_frames * PAGE_SIZE
        protection = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
        self.address = _libc.mmap(None, self.size_bytes, protection, mmap.MAP_SHARED, fd, 0)
        if self.address in (None, ctypes.c_void_p(-1).value):
            number = ctypes.get_errno()
            raise OSError(number, f"cannot map {nr_frames} frames: {os.strerror(number)}")
        whole = (ctypes.c_ubyte * self.size_bytes).from_address(self.address)
        self.view = memoryview(whole).cast("B")

    def close(self):
        """Unmap the frames; harmless when repeated."""
        if self.address is not None:
            self.view.release()
            _libc.munmap(self.address, self.size_bytes)
            self.address = None

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


class Arena:
    """A stack of pinned memory, whose addresses a hypercall may be given.

    Invariant: `used` falls back at the end of each frame, so what a frame made must not outlive it.
               The lock is held for the whole of a frame, so threads take turns.
    """

    def __init__(self, memory):
        self.memory = memory
        self.base = ctypes.addressof(ctypes.c_char.from_buffer(memory))
        self.lock = threading.RLock()
        self.used = 0

    @contextmanager
    def frame(self):
        """Open a frame; everything made in it is dropped at its end."""
        with self.lock:
            outer = self.used
            try:
                yield self
            finally:
                self.used = outer

    def reserve(self, size_bytes):
        """Return the offset of `size_bytes` zeroed bytes, aligned for any structure."""
        start = (self.used + 63) & ~63
        if start + size_bytes > len(self.memory):
            raise MemoryError(f"a hypercall argument of {size_bytes} bytes exceeds the arena")
        self.used = start + size_bytes
        self.memory[start : self.used] = bytes(size_bytes)
        return start

    def new(self, ctype):
        """Return a zeroed ctypes object of this type."""
        return ctype.from_buffer(self.memory, self.reserve(ctypes.sizeof(ctype)))

    def bytes(self, size_bytes):
        """Return `(address, memoryview)` of zeroed bytes."""
        start = self.reserve(size_bytes)
        return self.base + start, memoryview(self.memory)[start : start + size_bytes]

    def u64s(self, values):
        """Return `(address, memoryview of u64)` of a copy of `values`, an array('Q')."""
        address, view = self.bytes(len(values) * 8)
        words = view.cast("Q")
        words[:] = memoryview(values)
        return address, words


class Privcmd:
    """The hypercall device. Safe for threads."""

    def __init__(self, device="/dev/xen/privcmd", buffers="/dev/xen/hypercall"):
        self.fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        buffer_fd = os.open(buffers, os.O_RDWR | os.O_CLOEXEC)
        arena = mmap.mmap(buffer_fd, ARENA_PAGES * PAGE_SIZE, mmap.MAP_SHARED)
        os.close(buffer_fd)
        self.scratch = Arena(arena).frame

    def hypercall(self, op, *args, name="hypercall"):
        """Issue hypercall number `op`.

        Returns: its non-negative result.
        Errors:  HypercallError with Xen's errno; `name` says which operation it was.
        """
        call = privcmd_hypercall(op)
        call.arg[: len(args)] = args
        try:
            return fcntl.ioctl(self.fd, IOCTL_PRIVCMD_HYPERCALL, call)
        except OSError as error:
            raise HypercallError(error.errno, name) from None

    def map_foreign(self, domid, mfns, writable=True):
        """Map frames of domain `domid`, given as an array('Q') of frame numbers, in that order."""
        mapping = Mapping(self.fd, len(mfns), writable)
        errors = array("i", bytes(4 * len(mfns)))
        batch = privcmd_mmapbatch_v2(
            len(mfns), domid, mapping.address, mfns.buffer_info()[0], errors.buffer_info()[0]
        )
        try:
            fcntl.ioctl(self.fd, IOCTL_PRIVCMD_MMAPBATCH_V2, batch)
            number = -min(errors)
        except OSError as error:
            number = error.errno
        if number:
            mapping.close()
            raise HypercallError(number, f"mapping {len(mfns)} frames of domain {domid}")
        return mapping

    def map_resource(self, domid, resource_type, resource_id, first, nr_frames):
        """Map frames of a domain's resource, such as its grant table."""
        mapping = Mapping(self.fd, nr_frames)
        request = privcmd_mmap_resource(
            domid, resource_type, resource_id, first, nr_frames, mapping.address
        )
        try:
            fcntl.ioctl(self.fd, IOCTL_PRIVCMD_MMAP_RESOURCE, request)
        except OSError as error:
            mapping.close()
            raise HypercallError(error.errno, f"XENMEM_acquire_resource of {domid}") from None
        return mapping
