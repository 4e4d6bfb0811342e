"""What the boot loader left: memory map, modules, command line.

Source: Multiboot Specification 0.6.96, 3.3 "Boot information format". Everything here is read
through the early map of the first GiB at IMAGE_VIRT_START, later through the direct map;
`phys_window` holds the base that is right now.
"""

from kpy import Array, Ptr, Slice, load, panic, ref, sizeof, static, struct, u8, u32, u64

from kernel.base.ids import Maddr
from kernel.x86.memlayout import DIRECTMAP_VIRT_START, IMAGE_VIRT_START

MULTIBOOT_INFO_CMDLINE = 1 << 2
MULTIBOOT_INFO_MODS = 1 << 3
MULTIBOOT_INFO_MEM_MAP = 1 << 6
MAX_MODULES = 8
COMMAND_LINE_BYTES = 1024


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


@struct
class BootModule:
    """One boot module; its frames stay reserved until `kernel.dom0.construct` has used them."""

    start: Maddr
    size: u64
    text: Array[u8, COMMAND_LINE_BYTES]
    text_length: u64

    def command_line(self) -> Slice[u8]:
        """Return the module's command line, its file name first."""
        return self.text[0 : self.text_length]


phys_window = static(u64, IMAGE_VIRT_START)
info_maddr = static(u64)
modules = static(Array[BootModule, MAX_MODULES])
nr_modules = static(u64)
boot_text = static(Array[u8, COMMAND_LINE_BYTES])


def use_direct_map() -> None:
    """Read machine memory through the direct map from now on."""
    global phys_window
    phys_window = DIRECTMAP_VIRT_START


def boot_info() -> Ptr[MultibootInfo]:
    """Return the boot loader's structure, which lies in low memory."""
    return Ptr[MultibootInfo](phys_window + info_maddr)


def read_multiboot(maddr: u64) -> Slice[u8]:
    """Take over what the boot loader says, before its memory can be reused.

    Returns: the core's command line.
    """
    global info_maddr
    info_maddr = maddr
    info = boot_info()
    if info.flags & MULTIBOOT_INFO_MEM_MAP == 0:
        panic("the boot loader passed no memory map")
    if info.flags & MULTIBOOT_INFO_MODS != 0:
        read_modules(info)
    if info.flags & MULTIBOOT_INFO_CMDLINE == 0:
        return boot_text[0:0]
    return boot_text[0 : copy_text(ref(boot_text), info.cmdline)]


def read_modules(info: Ptr[MultibootInfo]) -> None:
    """Copy the list of modules."""
    global nr_modules
    nr_modules = u64(info.mods_count)
    assert nr_modules <= MAX_MODULES, "too many boot modules"
    for i in range(nr_modules):
        entry = Ptr[MultibootModule](
            phys_window + u64(info.mods_addr) + i * sizeof(MultibootModule)
        )
        module = ref(modules[i])
        module.start = Maddr(u64(entry.mod_start))
        module.size = u64(entry.mod_end - entry.mod_start)
        module.text_length = copy_text(ref(module.text), entry.cmdline)


def copy_text(to: Ptr[Array[u8, COMMAND_LINE_BYTES]], maddr: u32) -> u64:
    """Copy a text that ends with a zero byte; a longer one is cut.

    Returns: its length.
    """
    length: u64 = 0
    if maddr == 0:
        return 0
    while length < COMMAND_LINE_BYTES:
        character = load(Ptr[u8](phys_window + u64(maddr) + length))
        if character == 0:
            break
        to[length] = character
        length += 1
    return length


def module(index: u64) -> Ptr[BootModule]:
    """Return a boot module."""
    assert index < nr_modules, "no such boot module"
    return ref(modules[index])
