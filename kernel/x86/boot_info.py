"""What the boot loader handed over, whichever protocol it speaks: command line, modules, screen,
and where the firmware keeps its tables. The memory map goes to `kernel.x86.bootmem`.

`kernel.x86.multiboot` and `kernel.x86.multiboot2` fill it in before the loader's memory can be
reused. `phys_window` is where machine memory is readable: at its own addresses by the tables of
boot.asm, which end at EARLY_MAP_END, later in the direct map.
"""

from kpy import Array, Ptr, Slice, panic, ref, static, struct, u8, u32, u64

from kernel.base.ids import Maddr
from kernel.x86.boot_area import EARLY_MAP_END
from kernel.x86.memlayout import DIRECTMAP_VIRT_START

MAX_MODULES = 8
COMMAND_LINE_BYTES = 1024
RSDP_BYTES = 36


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


@struct
class Colour:
    """Where a colour's bits are in a pixel."""

    position: u8
    size: u8


@struct
class Screen:
    """The screen as the loader left it."""

    kind: u8  # SCREEN_*
    bits_per_pixel: u8
    red: Colour
    green: Colour
    blue: Colour
    maddr: u64
    pitch: u32  # bytes from line to line
    width: u32  # pixels, or characters
    height: u32


class ScreenKind:
    """What a screen shows."""

    NONE, PIXELS, TEXT = 0, 1, 2


phys_window = static(u64)
modules = static(Array[BootModule, MAX_MODULES])
nr_modules = static(u64)
boot_text = static(Array[u8, COMMAND_LINE_BYTES])
boot_text_length = static(u64)
screen = static(Screen)
rsdp = static(Array[u8, RSDP_BYTES])  # the loader's copy of ACPI's root pointer
rsdp_length = static(u64)
efi_system_table = static(u64)  # machine address; 0: not booted by UEFI


def use_direct_map() -> None:
    """Read machine memory through the direct map from now on."""
    global phys_window
    phys_window = DIRECTMAP_VIRT_START


def boot_command_line() -> Slice[u8]:
    """Return the core's own command line, its file name first."""
    return boot_text[0:boot_text_length]


def loader_view(maddr: u64, size: u64) -> u64:
    """Return where something of the boot loader's is readable; it must lie in the early map."""
    if maddr > EARLY_MAP_END or size > EARLY_MAP_END - maddr:
        panic("the boot loader's information lies beyond 4 GiB")
    return phys_window + maddr


def add_module(start: u64, end: u64) -> Ptr[BootModule]:
    """Take over a module's place. Its text is the caller's to copy."""
    global nr_modules
    if nr_modules == MAX_MODULES:
        panic("the boot loader passed more than 8 modules")
    if end < start or end > EARLY_MAP_END:
        panic("the boot loader's memory lies: a module ends before it starts, or beyond 4 GiB")
    added = ref(modules[nr_modules])
    added.start = Maddr(start)
    added.size = end - start
    nr_modules += 1
    return added


def copy_text(to: Ptr[Array[u8, COMMAND_LINE_BYTES]], text: Slice[u8]) -> u64:
    """Copy a text up to a zero byte, or as much as there is room for.

    Returns: its length.
    """
    length: u64 = 0
    limit = min(len(text), COMMAND_LINE_BYTES)
    while length < limit and text[length] != 0:
        to[length] = text[length]
        length += 1
    return length


def module(index: u64) -> Ptr[BootModule]:
    """Return a boot module."""
    assert index < nr_modules, "no such boot module"
    return ref(modules[index])
