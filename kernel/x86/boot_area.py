"""What the boot assembly and the first Python code agree on."""

MULTIBOOT_HEADER_MAGIC = 0x1BADB002
MULTIBOOT_BOOTLOADER_MAGIC = 0x2BADB002
MULTIBOOT2_HEADER_MAGIC = 0xE85250D6
MULTIBOOT2_BOOTLOADER_MAGIC = 0x36D76289


class HeaderTag:
    """What the core asks of a multiboot2 loader, by the tags of its header."""

    END, INFORMATION, ADDRESS, ENTRY, CONSOLE, FRAMEBUFFER, ALIGN = 0, 1, 2, 3, 4, 5, 6
    RELOCATABLE = 10
    OPTIONAL = 1  # flag: a loader that does not know the tag may go on


# A multiboot2 loader may put the image at any multiple of the alignment that ends below the limit.
LOAD_ALIGNMENT = 2 << 20
LOAD_LIMIT = 0xFFFFFFFF
# The early tables show machine memory up to here at its own addresses.
EARLY_MAP_GIB = 4
EARLY_MAP_END = EARLY_MAP_GIB << 30

TEXT_SCREEN = 0xB8000  # where a PC in text mode has it

# The boot area starts like a per-CPU area, a page for the `Pcpu`, and ends with the boot stack.
BOOT_STACK_TOP = 0x6000
