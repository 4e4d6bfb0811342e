"""A boot loader for tests: information as multiboot and multiboot2 loaders leave it, in memory that
ends where nothing may be read.
"""

import ctypes
import mmap
import struct

PAGE = mmap.PAGESIZE
PLACE = 0x10000  # the machine address of the first byte of the memory
PAGES = 2
RAM, RESERVED, ACPI, NVS, UNUSABLE = 1, 2, 3, 4, 5

libc = ctypes.CDLL(None, use_errno=True)
libc.mprotect.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class LoaderMemory:
    """Memory for what a loader leaves; the page behind it faults."""

    def __init__(self):
        self.pages = mmap.mmap(-1, (PAGES + 1) * PAGE)
        self.address = ctypes.addressof(ctypes.c_char.from_buffer(self.pages))
        assert libc.mprotect(self.address + PAGES * PAGE, PAGE, 0) == 0

    def put_at_end(self, data):
        """Write what ends with the memory, to 8 bytes; return its machine address."""
        data += bytes(-len(data) % 8)
        start = PAGES * PAGE - len(data)
        self.pages[start : PAGES * PAGE] = data
        return PLACE + start

    def put(self, maddr, data):
        """Write at a machine address."""
        self.pages[maddr - PLACE : maddr - PLACE + len(data)] = data

    def window(self):
        """Return what the core's `phys_window` must be."""
        return self.address - PLACE


def tag(kind, content=b""):
    """Return a multiboot2 tag, padded."""
    whole = struct.pack("<II", kind, 8 + len(content)) + content
    return whole + bytes(-len(whole) % 8)


def info(*tags, size=None):
    """Return multiboot2 information; `size` is what it claims."""
    body = b"".join(tags)
    return struct.pack("<II", size or 8 + len(body), 0) + body


END = tag(0)


def command_line(text):
    return tag(1, text + b"\0")


def module(start, end, text=b""):
    return tag(3, struct.pack("<II", start, end) + text + b"\0")


def memory_map(*entries, step=24):
    """Entries are (start, length, kind)."""
    body = b"".join(struct.pack("<QQII", *entry, 0).ljust(step, b"\0") for entry in entries)
    return tag(6, struct.pack("<II", step, 0) + body)


def framebuffer(kind, maddr=0xFD000000, pitch=4096, size=(1024, 768), bits=32, colours=b""):
    return tag(8, struct.pack("<QIIIBBH", maddr, pitch, *size, bits, kind, 0) + colours)


def efi_map(*entries, step=48):
    """Entries are (type, start, number of pages, attribute)."""
    body = b"".join(
        struct.pack("<IIQQQQ", kind, 0, start, 0, pages, attribute).ljust(step, b"\0")
        for kind, start, pages, attribute in entries
    )
    return tag(17, struct.pack("<II", step, 1) + body)
