"""A small machine for in-process tests of memory: real pages, a real frame table, compiled code.

The core finds the frame table, the direct map and the machine-to-physical table at fixed addresses;
while its modules are compiled for a test, these constants name memory of this process instead.
"""

import ctypes
import mmap

from kpy import jit
from kpy.front.structs import size_of
from kpy.jit.memory import View

import kernel.frames.frame  # noqa: F401  its functions are replaced
import kernel.frames.m2p
import kernel.state.frame_table
import kernel.x86.memlayout
from kernel.frames.frame import REFERENCE_MASK
from kernel.state.domain import Domain
from kernel.state.frame_table import FRAME_BYTES, Frame
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu

FIRST = 0x100  # the machine's frames: those behind the first MiB
NR_FRAMES = 128
END = FIRST + NR_FRAMES
PAGE = 4096
TYPE_COUNT_MASK = (1 << 26) - 1
PARTIAL, VALIDATED, PINNED = 1 << 58, 1 << 59, 1 << 60
WRITABLE = 7


class MemoryMachine:
    """The core's memory management over NR_FRAMES pages of this process."""

    def __init__(self, module, also=(), replace=None):
        self.pages, self.page_memory = memory(NR_FRAMES * PAGE)
        self.frames, self.frame_table = memory(NR_FRAMES * FRAME_BYTES)
        self.m2p, m2p = memory(NR_FRAMES * 8)
        self.flushes, self.domains = [], {}
        addresses = {
            (kernel.state.frame_table, "FRAMETABLE_VIRT_START"): self.frame_table
            - FIRST * FRAME_BYTES,
            (kernel.x86.memlayout, "DIRECTMAP_VIRT_START"): self.page_memory - FIRST * PAGE,
            (kernel.frames.m2p, "RDWR_MACH2PHYS_VIRT_START"): m2p - FIRST * 8,
        }
        before = {place: getattr(*place) for place in addresses}
        try:
            for place, address in addresses.items():
                setattr(*place, address)
            self.program = jit.load(module, also=also, replace=self.replacements(replace or {}))
        finally:
            for place, address in before.items():
                setattr(*place, address)
        self.cpu = self.program.new(Pcpu)
        self.vcpu = self.program.new(Vcpu)
        self.start_over()

    def replacements(self, own):
        """Return what stands in for the processor and for other parts of the core."""
        return {
            "kernel.x86.percpu.this_cpu": lambda: self.cpu,
            "kernel.x86.ipi.serve_mailbox": lambda: None,
            "kernel.frames.frame.owner_of": lambda frame: self.domains.get(frame.owner),
            "kernel.x86.ipi.flush_tlb_mask": self.flushes.append,
            "kernel.x86.tlb.cpus_needing_flush": lambda cpus, stamp: cpus,
            "kernel.x86.tlb.tlb_clock_now": lambda: self.tlb_clock,
            "kernel.x86.percpu.online_cpus": lambda: 1,
            **own,
        }

    def __getitem__(self, name):
        return self.program[name]

    def start_over(self):
        """Empty the machine: all frames are free, there is no domain."""
        for memory in (self.pages, self.frames, self.m2p):
            memory.seek(0)
            memory.write(bytes(len(memory)))
        for name in ("heads", "tails", "zones_with", "nr_free"):
            static = self[f"kernel.frames.heap.{name}"]
            ctypes.memset(int(static), 0, size_of(static.type))
        ranges = self["kernel.state.frame_table.ram_ranges"]
        ranges[0].first, ranges[0].end = FIRST, END
        self["kernel.state.frame_table.nr_ram_ranges"].value = 1
        self.domains.clear()
        self.flushes.clear()
        self.tlb_clock = 100
        self["kernel.frames.heap.give_range"](FIRST, END)

    def new_domain(self, number, max_pages=NR_FRAMES):
        """Make a domain without memory. It may be dom0, number 0."""
        domain = self.program.new(
            Domain, domain_id=number, max_pages=max_pages, refcount=1, is_privileged=number == 0
        )
        self.domains[number] = domain
        return domain

    def alloc(self, domain, order=0):
        """Allocate a block for a domain, None when there is none."""
        return self["kernel.frames.allocation.alloc_domain_frames"](domain, order, 0)

    @property
    def nr_free(self):
        return self["kernel.frames.heap.nr_free"].value

    def frame(self, mfn):
        """Return a frame's entry."""
        return View(Frame, self.frame_table + (mfn - FIRST) * FRAME_BYTES)

    def counts(self, mfn):
        """Return (references, type, type references) of a frame; type 0 without references."""
        info = self.frame(mfn).info
        type_count = info >> 32 & TYPE_COUNT_MASK
        return info & REFERENCE_MASK, info >> 61 if type_count else 0, type_count

    def page_address(self, mfn):
        """Return where a frame's memory is."""
        return self.page_memory + (mfn - FIRST) * PAGE

    def text(self, mfn):
        """Return what is in a frame."""
        self.pages.seek((mfn - FIRST) * PAGE)
        return self.pages.read(PAGE)

    def write(self, mfn, offset, data):
        """Put bytes into a frame."""
        self.pages.seek((mfn - FIRST) * PAGE + offset)
        self.pages.write(data)

    def entry(self, mfn, index):
        """Return a 64-bit word of a frame."""
        return int.from_bytes(self.text(mfn)[8 * index : 8 * index + 8], "little")

    def set_entry(self, mfn, index, value):
        """Set a 64-bit word of a frame."""
        self.write(mfn, 8 * index, value.to_bytes(8, "little"))


def memory(size):
    """Return zeroed memory of this process, and its address."""
    made = mmap.mmap(-1, size)
    return made, ctypes.addressof(ctypes.c_char.from_buffer(made))
