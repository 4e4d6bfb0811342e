"""The frame table: one `Frame` for each 4 KiB of RAM above 1 MiB. What they mean is in frame.py and
page_type.py.

Machine frames outside of the table (device registers, firmware tables, the first MiB) are *I/O
frames*: they have no owner and no counts, and only the rights of kernel/frames/iomem.py say who
may map them. A frame of the table that is all zero belongs to the core since boot: its reference
count of 0 keeps everybody from ever getting a reference to it.
"""

from kpy import (
    Array,
    Ptr,
    inline,
    newtype,
    ref,
    sizeof,
    static,
    struct,
    u8,
    u32,
    u64,
    wrapping_add,
    wrapping_mul,
    wrapping_sub,
)

from kernel.base.ids import DomId, Mfn
from kernel.x86 import bootmem
from kernel.x86.bootmem import E820_RAM, LOW_MEMORY_END
from kernel.x86.memlayout import FRAMETABLE_VIRT_START

FRAME_BYTES = 24
MAX_RAM_RANGES = 16

FrameLink = newtype("FrameLink", u32, none=0)  # an Mfn in 32 bits: frame 0 is not in the table


@struct
class Frame:
    """What the core knows of a frame. `info` changes by atomic instructions only, so no lock is
    needed to count references.
    """

    info: u64  # low half: reference count, state (frame.py); high half: type (page_type.py)
    owner: DomId  # who owns it, or owned it last
    order: u8  # of the free block that it heads
    next: FrameLink | None  # in a free list, or among the owner's frames
    previous: FrameLink | None
    stamp: (
        u32  # TLB clock when it was last unmapped; in a partial page table: how far its walk came
    )


assert sizeof(Frame) == FRAME_BYTES


@struct
class RamRange:
    first: u64
    end: u64


ram_ranges = static(Array[RamRange, MAX_RAM_RANGES])
nr_ram_ranges = static(u64)
max_page = static(u64)  # one past the last frame of RAM


@inline
def frame_at(mfn: Mfn) -> Ptr[Frame]:
    """Return the entry of a frame.

    The caller knows that `frame_valid(mfn)`, so the table is mapped there.
    """
    return Ptr[Frame](wrapping_add(FRAMETABLE_VIRT_START, wrapping_mul(u64(mfn), FRAME_BYTES)))


@inline
def mfn_of(frame: Ptr[Frame]) -> Mfn:
    """Return the number of a frame by its entry."""
    return Mfn((u64(frame) - FRAMETABLE_VIRT_START) // FRAME_BYTES)


@inline
def linked_frame(link: FrameLink) -> Ptr[Frame]:
    """Return the entry of the frame that a link names."""
    return frame_at(linked_mfn(link))


@inline
def linked_mfn(link: FrameLink) -> Mfn:
    """Return the frame that a link names."""
    return Mfn(u64(link))


@inline
def link_to(mfn: Mfn) -> FrameLink:
    """Return the link that names a frame of the table."""
    return FrameLink(u32(u64(mfn)))


@inline
def frame_valid(mfn: Mfn) -> bool:
    """Say whether a frame is RAM that the table describes."""
    for i in range(nr_ram_ranges):
        memory = ref(ram_ranges[i])
        if wrapping_sub(u64(mfn), memory.first) < memory.end - memory.first:
            return True
    return False


def find_ram() -> None:
    """Note which frames have an entry. Context: boot, once."""
    global nr_ram_ranges, max_page
    for i in range(bootmem.nr_regions):
        region = ref(bootmem.memory_map[i])
        first = (max(region.start, LOW_MEMORY_END) + 4095) >> 12
        end = region.end >> 12
        if region.kind == E820_RAM and first < end:
            assert nr_ram_ranges < MAX_RAM_RANGES, "RAM is in too many pieces"
            ram_ranges[nr_ram_ranges] = RamRange(first=first, end=end)
            nr_ram_ranges += 1
            max_page = max(max_page, end)


def total_frames() -> u64:
    """Return the number of frames of RAM in the machine."""
    total: u64 = 0
    for i in range(nr_ram_ranges):
        total += ram_ranges[i].end - ram_ranges[i].first
    return total
