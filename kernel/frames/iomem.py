"""Who may map I/O frames: device registers, firmware tables, everything that is no RAM of the frame
table.

Domain 0 owns the hardware, so it may map all but what the core itself drives: frames denied to it
(the local APICs, whose page could start interrupts) and frames that it may only read (I/O APICs).
Nobody else may map any.
"""

from kpy import Array, Ptr, bit, static, struct, u32, u64

from kernel.base.ids import Mfn
from kernel.state.domain import Domain
from kernel.x86 import acpi
from kernel.x86.features import max_physical_bits

IO_none = 0
IO_read = 1
IO_write = 2

MAX_CORE_RANGES = 32
MSI_START = 0xFEE00000
MSI_END = 0xFEF00000


@struct
class CoreRange:
    """I/O frames with a device of the core, and what domain 0 may do with them."""

    first: u64
    end: u64
    rights: u32  # IO_none or IO_read


core_ranges = static(Array[CoreRange, MAX_CORE_RANGES])
nr_core_ranges = static(u64)


def restrict_io_frames(first: u64, end: u64, rights: u32) -> None:
    """Restrict domain 0 to IO_none or IO_read of a range. Context: boot."""
    global nr_core_ranges
    assert nr_core_ranges < MAX_CORE_RANGES, "the core has too many devices"
    core_ranges[nr_core_ranges] = CoreRange(first=first, end=end, rights=rights)
    nr_core_ranges += 1


def protect_core_devices() -> None:
    """Keep the devices that the core drives from domain 0.

    It may neither write to where interrupts are made, the local APICs and the addresses of
    message-signalled interrupts, nor reprogram an I/O APIC. Context: boot, once.
    """
    restrict_io_frames(MSI_START >> 12, MSI_END >> 12, IO_none)
    restrict_io_frames(acpi.apic_maddr >> 12, (acpi.apic_maddr >> 12) + 1, IO_none)
    for i in range(acpi.nr_io_apics):
        frame = acpi.io_apics[i].maddr >> 12
        restrict_io_frames(frame, frame + 1, IO_read)


def io_frame_rights(d: Ptr[Domain], mfn: Mfn) -> u32:
    """Return what a domain may do with an I/O frame: IO_*."""
    if u64(mfn) >= bit(u64(max_physical_bits) - 12):
        return IO_none
    rights: u32 = IO_write if d.is_privileged else IO_none
    for i in range(nr_core_ranges):
        if core_ranges[i].first <= u64(mfn) < core_ranges[i].end:
            rights = min(rights, core_ranges[i].rights)
    return rights


def has_io_memory(d: Ptr[Domain]) -> bool:
    """Say whether a domain may map any device memory, and hence choose caching attributes."""
    return d.is_privileged
