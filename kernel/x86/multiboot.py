"""What a multiboot loader left: memory map, modules, command line.

Source: Multiboot Specification 0.6.96, 3.3 "Boot information format". All addresses have 32 bits,
so what they name is in the early map if it ends there, which `loader_view` sees to.
"""

from kpy import Array, Ptr, Slice, panic, ref, sizeof, struct, u8, u32, u64

from kernel.x86 import boot_info
from kernel.x86.boot_area import EARLY_MAP_END
from kernel.x86.boot_info import (
    COMMAND_LINE_BYTES,
    add_module,
    boot_text,
    copy_text,
    loader_view,
)
from kernel.x86.bootmem import add_region

MULTIBOOT_INFO_CMDLINE = 1 << 2
MULTIBOOT_INFO_MODS = 1 << 3
MULTIBOOT_INFO_MEM_MAP = 1 << 6
MMAP_ENTRY_BYTES = 20  # of an entry, what follows its size


@struct
class MultibootInfo:
    flags: u32
    mem_lower: u32
    mem_upper: u32
    boot_device: u32
    cmdline: u32
    mods_count: u32
    mods_addr: u32
    syms: Array[u32, 4]
    mmap_length: u32
    mmap_addr: u32


@struct
class MultibootModule:
    mod_start: u32
    mod_end: u32
    cmdline: u32
    reserved: u32


@struct(packed=True)
class MultibootMmapEntry:
    size: u32  # of what follows
    addr: u64
    length: u64
    kind: u32


def read_multiboot(maddr: u64) -> None:
    """Take over what the loader says, before its memory can be reused."""
    info = Ptr[MultibootInfo](loader_view(maddr, sizeof(MultibootInfo)))
    if info.flags & MULTIBOOT_INFO_MEM_MAP == 0:
        panic("the boot loader passed no memory map")
    read_memory_map(u64(info.mmap_addr), u64(info.mmap_length))
    if info.flags & MULTIBOOT_INFO_MODS != 0:
        read_modules(u64(info.mods_addr), u64(info.mods_count))
    if info.flags & MULTIBOOT_INFO_CMDLINE != 0:
        boot_info.boot_text_length = copy_text(ref(boot_text), text_at(info.cmdline))


def read_memory_map(maddr: u64, length: u64) -> None:
    """Take over the firmware's map."""
    address = loader_view(maddr, length)
    offset: u64 = 0
    while offset + sizeof(MultibootMmapEntry) <= length:
        entry = Ptr[MultibootMmapEntry](address + offset)
        if entry.size < MMAP_ENTRY_BYTES:
            panic("the boot loader's memory map has an entry that is too short")
        add_region(entry.addr, entry.length, entry.kind)
        offset += u64(entry.size) + sizeof(u32)


def read_modules(maddr: u64, count: u64) -> None:
    """Copy the list of modules."""
    address = loader_view(maddr, count * sizeof(MultibootModule))
    for i in range(count):
        entry = Ptr[MultibootModule](address + i * sizeof(MultibootModule))
        added = add_module(u64(entry.mod_start), u64(entry.mod_end))
        added.text_length = copy_text(ref(added.text), text_at(entry.cmdline))


def text_at(maddr: u32) -> Slice[u8]:
    """Return the bytes at an address, as many as a text may have; the loader's 0 means no text."""
    if maddr == 0:
        return boot_text[0:0]
    room = min(COMMAND_LINE_BYTES, EARLY_MAP_END - u64(maddr))
    return Slice[u8](Ptr[u8](loader_view(u64(maddr), room)), room)
