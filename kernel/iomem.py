"""Who may map I/O frames: device registers, firmware tables, everything that is no RAM of the frame
table.

Domain 0 owns the hardware, so it may map all but what the core itself drives: frames denied to it
(the local APICs, whose page could start interrupts) and frames that it may only read (I/O APICs).
Another domain may map the ranges that the toolstack gave it.
"""

import abi
from kpy import Array, Ptr, bit, i64, inline, ref, static, struct, u32, u64

from kernel.domain import Domain
from kernel.ids import Mfn
from kernel.io_range import MAX_IO_RANGES, IoRange
from kernel.x86.features import max_physical_bits

IO_none = 0
IO_read = 1
IO_write = 2

MAX_CORE_FRAMES = 32


@struct
class CoreFrame:
    """An I/O frame with a device of the core, and what domain 0 may do with it."""

    mfn: u64
    rights: u32  # IO_none or IO_read


core_frames = static(Array[CoreFrame, MAX_CORE_FRAMES])
nr_core_frames = static(u64)


def restrict_io_frame(mfn: Mfn, rights: u32) -> None:
    """Restrict domain 0 to IO_none or IO_read of a frame. Context: boot, or the discovery of a
    device.
    """
    global nr_core_frames
    for i in range(nr_core_frames):
        if core_frames[i].mfn == u64(mfn):
            core_frames[i].rights = min(core_frames[i].rights, rights)
            return
    assert nr_core_frames < MAX_CORE_FRAMES, "the core has too many devices"
    core_frames[nr_core_frames] = CoreFrame(mfn=u64(mfn), rights=rights)
    nr_core_frames += 1


def deny_io_frame(mfn: Mfn) -> None:
    """Keep a frame from every domain."""
    restrict_io_frame(mfn, IO_none)


def protect_io_frame(mfn: Mfn) -> None:
    """Let domain 0 only read a frame."""
    restrict_io_frame(mfn, IO_read)


def io_frame_rights(d: Ptr[Domain], mfn: Mfn) -> u32:
    """Return what a domain may do with an I/O frame: IO_*."""
    if u64(mfn) >= bit(u64(max_physical_bits) - 12):
        return IO_none
    rights: u32 = IO_write if d.is_privileged or is_granted(d, u64(mfn)) else IO_none
    for i in range(nr_core_frames):
        if core_frames[i].mfn == u64(mfn):
            rights = min(rights, core_frames[i].rights)
    return rights


@inline
def is_granted(d: Ptr[Domain], mfn: u64) -> bool:
    """Say whether the toolstack gave a domain an I/O frame."""
    for i in range(MAX_IO_RANGES):
        if d.io_ranges[i].first <= mfn < d.io_ranges[i].end:
            return True
    return False


def has_io_memory(d: Ptr[Domain]) -> bool:
    """Say whether a domain may map any device memory, and hence choose caching attributes."""
    if d.is_privileged:
        return True
    for i in range(MAX_IO_RANGES):
        if d.io_ranges[i].end != 0:
            return True
    return False


def permit_io_frames(d: Ptr[Domain], first: u64, count: u64, allow: bool) -> i64:
    """Give I/O frames to a domain, or take them away again: existing mappings stay.

    Errors: -EINVAL, the frames are more than exist; -ENOMEM, the domain has too many ranges;
    -ENOENT, it doesn't have these.
    """
    if count == 0 or first + count > bit(u64(max_physical_bits) - 12):
        return -abi.EINVAL
    for i in range(MAX_IO_RANGES):
        slot = ref(d.io_ranges[i])
        if allow and slot.end == 0:
            store_range(slot, first, first + count)
            return 0
        if not allow and slot.first == first and slot.end == first + count:
            store_range(slot, 0, 0)
            return 0
    return -abi.ENOMEM if allow else -abi.ENOENT


def store_range(slot: Ptr[IoRange], first: u64, end: u64) -> None:
    """Change a range so that another processor never sees more than the old or the new one."""
    slot.end = 0
    slot.first = first
    slot.end = end
