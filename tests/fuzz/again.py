"""Going back to the world's beginning, quickly (kernel Python): as tests.model.memory.Snapshot
does, but for the free frames that nobody has touched.
"""

from kpy import Array, Ptr, Slice, copy_slice, struct, u8, u32, u64

from kernel.base.ids import Mfn
from kernel.state.frame_table import FRAME_BYTES
from kernel.x86.memlayout import FRAMETABLE_VIRT_START, mfn_to_vaddr
from tests.model.memory import FIRST, NR_FRAMES

PAGE = 4096
MOST_PARTS = 1024
LINE_WORDS = FRAME_BYTES // 8


@struct
class Part:
    """A stretch of memory, and where a copy of it is."""

    at: u64
    size: u64
    kept: u64


@struct
class Beginning:
    """All that must be as it was. The frames come first, as their lines are compared."""

    frames: u64  # copies of all frames
    lines: u64  # and of their lines in the frame table
    is_used: Array[bool, NR_FRAMES]
    nr_parts: u32
    parts: Array[Part, MOST_PARTS]


def start_again(beginning: Ptr[Beginning]) -> None:
    """Restore all memory."""
    for i in range(u64(NR_FRAMES)):
        if beginning.is_used[i] or line_differs(beginning.lines, i):
            kept = beginning.frames + i * PAGE
            copy_slice(stretch(u64(mfn_to_vaddr(Mfn(FIRST + i))), PAGE), stretch(kept, PAGE))
    for i in range(u64(beginning.nr_parts)):
        part = beginning.parts[i]
        copy_slice(stretch(part.at, part.size), stretch(part.kept, part.size))


def line_differs(lines: u64, number: u64) -> bool:
    """Say whether the core has done anything with a frame that was free. If it has only allocated
    and freed it so that all is as before, the frame is free, and nobody sees what is in it.
    """
    kept = Ptr[Array[u64, LINE_WORDS]](lines + number * FRAME_BYTES)
    now = Ptr[Array[u64, LINE_WORDS]](FRAMETABLE_VIRT_START + (FIRST + number) * FRAME_BYTES)
    for i in range(u64(LINE_WORDS)):
        if kept[i] != now[i]:
            return True
    return False


def stretch(at: u64, size: u64) -> Slice[u8]:
    """Return memory of the host."""
    return Slice[u8](Ptr[u8](at), size)
