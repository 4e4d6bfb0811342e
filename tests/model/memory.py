"""The model's memory: stretches of this process where the machine has frames, tables and stacks,
and snapshots of all of it.
"""

import ctypes
import mmap
import sys

from kpy.front.structs import size_of

import kernel.main  # noqa: F401  every module whose constants are moved must be imported
import tests.model.instructions  # noqa: F401
import tests.model.paging  # noqa: F401
from kernel.base.ids import PAGE_SIZE as PAGE
from kernel.state.frame_table import FRAME_BYTES
from kernel.x86.percpu import AREA_BYTES
from tests.model.processors import NR_MODEL_CPUS, STACK_BYTES

FIRST = 0x100  # the machine's frames: those behind the first MiB
NR_FRAMES = 768
END = FIRST + NR_FRAMES
NR_BOOT_FRAMES = 20  # of them, the first: page tables that the core made as it booted
PLACE = 0x200000000000
MAP_FIXED_NOREPLACE = 0x100000


class Memory:
    """One stretch of zeroed memory, and where in it everything lies."""

    def __init__(self, place=PLACE):
        sizes = {
            "areas": NR_MODEL_CPUS * AREA_BYTES,  # first: aligned to AREA_BYTES
            "frames": NR_FRAMES * PAGE,
            "frame_table": NR_FRAMES * FRAME_BYTES,
            "m2p": NR_FRAMES * 8,
            "stacks": NR_MODEL_CPUS * STACK_BYTES,
        }
        at = self.start = map_memory(place, sum(sizes.values()))
        for name, size in sizes.items():
            setattr(self, name, at)
            at += size
        self.end = self.stacks  # of what a snapshot holds whole
        self.nothing = memoryview(bytes(PAGE)).cast("Q")
        words = (ctypes.c_uint64 * (NR_FRAMES * PAGE // 8)).from_address(self.frames)
        self.words = memoryview(words).cast("B").cast("Q")

    def constants(self):
        """Return the core's addresses of what is here."""
        return {
            "FRAMETABLE_VIRT_START": self.frame_table - FIRST * FRAME_BYTES,
            "DIRECTMAP_VIRT_START": self.frames - FIRST * PAGE,
            "RDWR_MACH2PHYS_VIRT_START": self.m2p - FIRST * 8,
            "PERCPU_VIRT_START": self.areas,
            "IMAGE_VIRT_START": 0,  # machine addresses of the image: never followed
        }

    def page(self, mfn):
        """Return the 512 words of a frame, writable."""
        return self.words[(mfn - FIRST) * 512 : (mfn - FIRST + 1) * 512]

    def address(self, mfn):
        """Return where a frame is in this process."""
        return self.frames + (mfn - FIRST) * PAGE


def map_memory(place, size):
    """Map zeroed memory, the same machine's always at the same place: addresses are part of the
    compiled code, which can then be used again (tools/kpy/jit/cache.py).
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.mmap.restype = ctypes.c_void_p
    libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
    flags = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | MAP_FIXED_NOREPLACE
    start = libc.mmap(place, size, mmap.PROT_READ | mmap.PROT_WRITE, flags, -1, 0)
    if start != place:
        raise OSError(ctypes.get_errno(), f"no memory can be mapped at {place:#x}")
    return start


class moved_constants:
    """While it lasts, the core's modules take these constants for theirs: for a compilation."""

    def __init__(self, constants):
        self.constants, self.before = constants, []

    def __enter__(self):
        for module in list(sys.modules.values()):
            if getattr(module, "__name__", "").startswith(("kernel.", "tests.")):
                for name in self.constants.keys() & vars(module).keys():
                    self.before.append((module, name, getattr(module, name)))
                    setattr(module, name, self.constants[name])

    def __exit__(self, *_):
        for module, name, value in self.before:
            setattr(module, name, value)


class Snapshot:
    """All memory that the machine's state is in, at one moment; `restore` goes back to it."""

    def __init__(self, memory, program):
        ranges = [(memory.start, memory.end - memory.start)]
        log = int(program["tests.model.processors.accesses"])  # long, and of no later interest
        statics = [view for view in program.statics() if int(view) != log]
        ranges += [(int(view), size_of(view.type)) for view in statics]
        cpus = program["tests.model.processors.cpus"]
        for number, cpu in enumerate(cpus):
            top = memory.stacks + (number + 1) * STACK_BYTES
            if cpu.rsp:
                ranges.append((cpu.rsp, top - cpu.rsp))
        self.parts = [(at, size, ctypes.string_at(at, size)) for at, size in ranges]

    def restore(self):
        for at, size, data in self.parts:
            ctypes.memmove(at, data, size)
