"""What the boot assembly and the first Python code agree on."""

MULTIBOOT_HEADER_MAGIC = 0x1BADB002
MULTIBOOT_BOOTLOADER_MAGIC = 0x2BADB002

# The boot area starts like a per-CPU area, a page for the `Pcpu`, and ends with the boot stack.
BOOT_STACK_TOP = 0x6000
