"""UEFI's memory map as its firmware left it: what each stretch of machine memory is.

Source: UEFI 2.10, 7.2.1 (memory types), 7.2.3 (memory descriptors).
"""

from kpy import Array, Ptr, Tainted, load, ref, static, struct, u32, u64

from kernel.base.ids import PAGE_SIZE
from kernel.x86.bootmem import (
    E820_ACPI,
    E820_NVS,
    E820_RAM,
    E820_RESERVED,
    E820_UNUSABLE,
    add_region,
)

MAX_EFI_REGIONS = 512
HIGH_PAGE = 1 << 40


class EfiType:
    """Types of memory that the core tells from reserved ones."""

    LOADER_CODE, LOADER_DATA, BOOT_CODE, BOOT_DATA = 1, 2, 3, 4
    CONVENTIONAL, UNUSABLE, ACPI, NVS = 7, 8, 9, 10


@struct
class EfiMemory:
    """A memory descriptor."""

    type: u32
    pad: u32
    start: u64
    virtual_start: u64
    nr_pages: u64
    attribute: u64


efi_map = static(Array[EfiMemory, MAX_EFI_REGIONS])
nr_efi_regions = static(u64)


def add_efi_memory(found: Ptr[EfiMemory]) -> None:
    """Take over a descriptor; one that continues the last one becomes part of it. What is beyond
    any processor's reach, or beyond the room here, is left out.
    """
    global nr_efi_regions
    if found.nr_pages == 0 or found.nr_pages > HIGH_PAGE or found.start >= HIGH_PAGE * PAGE_SIZE:
        return
    if nr_efi_regions != 0 and continues(ref(efi_map[nr_efi_regions - 1]), found):
        efi_map[nr_efi_regions - 1].nr_pages += found.nr_pages
    elif nr_efi_regions < MAX_EFI_REGIONS:
        efi_map[nr_efi_regions] = load(found)
        nr_efi_regions += 1


def continues(last: Ptr[EfiMemory], found: Ptr[EfiMemory]) -> bool:
    """Whether a descriptor goes on where another ends, and says the same of it."""
    return (
        found.start == last.start + last.nr_pages * PAGE_SIZE
        and found.type == last.type
        and found.attribute == last.attribute
    )


def use_efi_map() -> None:
    """Make the map that of the machine, for a boot loader that passed no other. After its exit the
    boot services' memory is as good as any.
    """
    for i in range(nr_efi_regions):
        found = ref(efi_map[i])
        add_region(found.start, found.nr_pages * PAGE_SIZE, e820_kind(found.type))


def e820_kind(type: u32) -> u32:
    """Return the kind of memory in the words of a PC's BIOS."""
    match type:
        case (
            EfiType.LOADER_CODE
            | EfiType.LOADER_DATA
            | EfiType.BOOT_CODE
            | EfiType.BOOT_DATA
            | EfiType.CONVENTIONAL
        ):
            return E820_RAM
        case EfiType.ACPI:
            return E820_ACPI
        case EfiType.NVS:
            return E820_NVS
        case EfiType.UNUSABLE:
            return E820_UNUSABLE
        case _:
            return E820_RESERVED


def find_efi_memory(maddr: Tainted[u64]) -> Ptr[EfiMemory] | None:
    """Return the descriptor of the stretch in which an address lies."""
    for i in range(nr_efi_regions):
        found = ref(efi_map[i])
        if found.start <= maddr < found.start + found.nr_pages * PAGE_SIZE:
            return found
    return None
