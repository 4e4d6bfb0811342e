"""The whole address map of the core, and of what it shows to guests.

Guests own 0x0 - 0x00007fffffffffff and 0xffff880000000000 - 0xffffffffffffffff. The core owns the
hole between, the same L4 slots 256-271 in every address space, so a trap needs no CR3 load.

| from               | L4 slot | size    | what                                      | guest sees  |
|--------------------|---------|---------|-------------------------------------------|-------------|
| 0xffff800000000000 | 256     | 256 GiB | machine-to-physical table, u64 per frame  | read-only   |
| 0xffff820000000000 | 260     | 512 GiB | per domain: descriptor tables of its vCPUs| by selector |
| 0xffff828000000000 | 261     | 8 GiB   | per-CPU areas: stacks with guard pages    | nothing     |
| 0xffff82a000000000 | 261     | 64 GiB  | device registers: local APIC, I/O APICs … | nothing     |
| 0xffff82b000000000 | 261     | 256 MiB | the screen, until domain 0 takes it       | nothing     |
| 0xffff82c000000000 | 261     | 64 GiB  | machine-to-physical table, as the core    | nothing     |
|                    |         |         | writes it                                 |             |
| 0xffff82d040000000 | 261     | 1 GiB   | the core's image: text, rodata, data, bss | nothing     |
| 0xffff82e000000000 | 261     | 128 GiB | frame table, one `Frame` per machine frame| nothing     |
| 0xffff830000000000 | 262-271 | 5 TiB   | direct map of all machine memory          | nothing     |
"""

import abi
from kpy import inline, static, u64

from kernel.base.ids import Maddr, Mfn, Vaddr

L4_SLOT_FIRST = 256
L4_SLOT_END = 272
L4_SLOT_PERDOMAIN = 260

MACH2PHYS_VIRT_START = abi.HYPERVISOR_VIRT_START
PERDOMAIN_VIRT_START = 0xFFFF820000000000
PERCPU_VIRT_START = 0xFFFF828000000000
DEVICE_VIRT_START = 0xFFFF82A000000000
SCREEN_VIRT_START = 0xFFFF82B000000000
RDWR_MACH2PHYS_VIRT_START = 0xFFFF82C000000000
IMAGE_VIRT_START = 0xFFFF82D040000000
FRAMETABLE_VIRT_START = 0xFFFF82E000000000
DIRECTMAP_VIRT_START = 0xFFFF830000000000

image_offset = static(u64)  # how far from where it was linked the boot loader put the image


def note_image_offset(offset: u64) -> None:
    """Remember where the image lies in machine memory. Context: boot, first."""
    global image_offset
    image_offset = offset


@inline
def maddr_to_vaddr(maddr: Maddr) -> Vaddr:
    """Return where the direct map shows a machine address. The caller knows that it is memory."""
    return Vaddr(DIRECTMAP_VIRT_START + u64(maddr))


@inline
def vaddr_to_maddr(vaddr: Vaddr) -> Maddr:
    """Return the machine address behind a direct-map address."""
    return Maddr(u64(vaddr) - DIRECTMAP_VIRT_START)


@inline
def image_to_maddr(vaddr: u64) -> Maddr:
    """Return the machine address behind an address inside the core's image."""
    return Maddr(vaddr - IMAGE_VIRT_START + image_offset)


@inline
def mfn_to_vaddr(mfn: Mfn) -> Vaddr:
    """Return where the direct map shows a frame. The caller holds a reference or owns the frame."""
    return Vaddr(DIRECTMAP_VIRT_START + (u64(mfn) << 12))
