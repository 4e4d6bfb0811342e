"""The core's start, from the boot loader to the first guest."""

from kpy import Never, export, u64

import kernel.panic  # noqa: F401  the compiler calls kpy_panic
from kernel.cmdline import command_line, set_command_line
from kernel.console import console_init, printk
from kernel.x86.cpu import halt_forever
from kernel.x86.multiboot import read_multiboot


@export
def start_core(multiboot_info: u64) -> Never:
    """Start the core.

    Context: from boot.asm, on the boot stack, with the early page tables.
    """
    set_command_line(read_multiboot(multiboot_info))
    console_init()
    printk(f"Proxen, command line: {command_line}")
    halt_forever()
