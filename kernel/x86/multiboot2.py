"""What a multiboot2 loader left: a list of tags, of which the core reads those that it knows.

Nothing in it is trusted: every structure is looked at through `view`, which knows where its tag
ends. What cannot be stops the boot with a sentence. Source: Multiboot2 Specification 2.0, 3.6 "Boot
information format"; UEFI 2.10, 7.2.3 (memory descriptors).
"""

from kpy import (
    Ptr,
    Slice,
    TypeVar,
    copy_slice,
    inline,
    panic,
    ref,
    sizeof,
    struct,
    u8,
    u16,
    u32,
    u64,
)

from kernel.x86 import boot_info
from kernel.x86.boot_info import (
    RSDP_BYTES,
    Colour,
    Screen,
    ScreenKind,
    add_module,
    boot_text,
    copy_text,
    loader_view,
    rsdp,
)
from kernel.x86.bootmem import add_region, nr_firmware_regions
from kernel.x86.efi_map import EfiMemory, add_efi_memory, use_efi_map

T = TypeVar("T")

MAX_INFO_BYTES = 1 << 20
ALIGNMENT = 8
RSDP_V1_BYTES = 20


class Tag:
    """Kinds of tags."""

    END, COMMAND_LINE, MODULE, MEMORY_MAP, FRAMEBUFFER, EFI64 = 0, 1, 3, 6, 8, 12
    RSDP_V1, RSDP_V2, EFI_MEMORY_MAP = 14, 15, 17


class FramebufferType:
    """How a screen's bytes become colours."""

    INDEXED, RGB, EGA_TEXT = 0, 1, 2


@struct
class InfoHeader:
    size: u32
    reserved: u32


@struct
class TagHeader:
    kind: u32
    size: u32  # this header included


@struct
class ModuleTag:
    header: TagHeader
    mod_start: u32
    mod_end: u32


@struct
class MemoryMapTag:
    header: TagHeader
    entry_size: u32
    entry_version: u32


@struct
class MemoryMapEntry:
    start: u64
    length: u64
    kind: u32
    zero: u32


@struct
class EfiMemoryMapTag:
    header: TagHeader
    descriptor_size: u32
    descriptor_version: u32


@struct
class PointerTag:
    header: TagHeader
    pointer: u64


@struct(packed=True)
class FramebufferTag:
    header: TagHeader
    maddr: u64
    pitch: u32
    width: u32
    height: u32
    bits_per_pixel: u8
    kind: u8
    reserved: u16


@struct(packed=True)
class RgbTag:
    framebuffer: FramebufferTag
    red: Colour
    green: Colour
    blue: Colour


@inline
def view(kind: type[T], tag: Slice[u8], offset: u64) -> Ptr[T]:
    """Return the structure at an offset; a tag that ends before it stops the boot."""
    if offset > len(tag) or len(tag) - offset < sizeof(T):
        panic("the boot loader's information is cut short")
    return Ptr[T](u64(ref(tag[offset])))


def read_multiboot2(maddr: u64) -> None:
    """Take over what the loader says, before its memory can be reused."""
    info = whole_info(maddr)
    offset = sizeof(InfoHeader)
    while offset < len(info):
        header = view(TagHeader, info, offset)
        size = u64(header.size)
        if size < sizeof(TagHeader) or size > len(info) - offset:
            panic("the boot loader's information has a tag that is longer than all of it, or empty")
        if header.kind == Tag.END:
            break
        read_tag(header.kind, info[offset : offset + size])
        offset += (size + ALIGNMENT - 1) // ALIGNMENT * ALIGNMENT
    if nr_firmware_regions == 0:
        use_efi_map()
    if nr_firmware_regions == 0:
        panic("the boot loader passed no memory map")


def whole_info(maddr: u64) -> Slice[u8]:
    """Return the loader's information, which must lie where the early map shows it."""
    header = Ptr[InfoHeader](loader_view(maddr, sizeof(InfoHeader)))
    size = u64(header.size)
    if maddr % ALIGNMENT != 0 or size > MAX_INFO_BYTES or size < sizeof(InfoHeader):
        panic("the boot loader's information has an absurd size or address")
    return Slice[u8](Ptr[u8](loader_view(maddr, size)), size)


def read_tag(kind: u32, tag: Slice[u8]) -> None:
    """Read a tag of a kind that the core knows; others are skipped."""
    match kind:
        case Tag.COMMAND_LINE:
            text = tag[sizeof(TagHeader) : len(tag)]
            boot_info.boot_text_length = copy_text(ref(boot_text), text)
        case Tag.MODULE:
            read_module(tag)
        case Tag.MEMORY_MAP:
            read_memory_map(tag)
        case Tag.FRAMEBUFFER:
            read_framebuffer(tag)
        case Tag.EFI64:
            boot_info.efi_system_table = view(PointerTag, tag, 0).pointer
        case Tag.RSDP_V1 | Tag.RSDP_V2:
            read_rsdp(tag)
        case Tag.EFI_MEMORY_MAP:
            read_efi_memory_map(tag)
        case _:
            pass


def read_module(tag: Slice[u8]) -> None:
    """Take over a module and its command line."""
    place = view(ModuleTag, tag, 0)
    added = add_module(u64(place.mod_start), u64(place.mod_end))
    added.text_length = copy_text(ref(added.text), tag[sizeof(ModuleTag) : len(tag)])


def read_memory_map(tag: Slice[u8]) -> None:
    """Take over the firmware's map."""
    step = u64(view(MemoryMapTag, tag, 0).entry_size)
    if step < sizeof(MemoryMapEntry):
        panic("the boot loader's memory map has entries that are too short")
    offset = sizeof(MemoryMapTag)
    while offset + step <= len(tag):
        entry = view(MemoryMapEntry, tag, offset)
        add_region(entry.start, entry.length, entry.kind)
        offset += step


def read_efi_memory_map(tag: Slice[u8]) -> None:
    """Take over UEFI's own map, which says more than the loader's."""
    step = u64(view(EfiMemoryMapTag, tag, 0).descriptor_size)
    if step < sizeof(EfiMemory):
        panic("the boot loader's EFI memory map has entries that are too short")
    offset = sizeof(EfiMemoryMapTag)
    while offset + step <= len(tag):
        add_efi_memory(view(EfiMemory, tag, offset))
        offset += step


def read_rsdp(tag: Slice[u8]) -> None:
    """Keep the loader's copy of ACPI's root pointer, the newer one if there are two."""
    size = len(tag) - sizeof(TagHeader)
    if size < RSDP_V1_BYTES:
        panic("the boot loader's copy of ACPI's root pointer is cut short")
    size = min(size, RSDP_BYTES)
    if size > boot_info.rsdp_length:
        copy_slice(rsdp[0:size], tag[sizeof(TagHeader) : sizeof(TagHeader) + size])
        boot_info.rsdp_length = size


def read_framebuffer(tag: Slice[u8]) -> None:
    """Take over where the screen is. One whose colours come from a palette is none."""
    found = view(FramebufferTag, tag, 0)
    screen = ref(boot_info.screen)
    screen.maddr = found.maddr
    screen.pitch = found.pitch
    screen.width = found.width
    screen.height = found.height
    screen.bits_per_pixel = found.bits_per_pixel
    match found.kind:
        case FramebufferType.RGB:
            screen.kind = ScreenKind.PIXELS
            read_colours(screen, view(RgbTag, tag, 0))
        case FramebufferType.EGA_TEXT:
            screen.kind = ScreenKind.TEXT
        case _:
            screen.kind = ScreenKind.NONE


def read_colours(screen: Ptr[Screen], found: Ptr[RgbTag]) -> None:
    """Take over where the colours' bits are."""
    screen.red = found.red
    screen.green = found.green
    screen.blue = found.blue
