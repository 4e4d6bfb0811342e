"""How the hypervisor core is built: `python -m kpy build core` makes build/proxen.elf and the
bootable build/proxen.bin.
"""

from kpy.front.target import Target

from linetable.encode import make_table

core = Target(
    name="proxen",
    group="core",
    roots=["kernel.main"],
    assembly=[
        "kernel/x86/boot.asm",
        "kernel/x86/ap_boot.asm",
        "kernel/x86/entry.asm",
        "kernel/x86/fault_safe.asm",
        "kernel/x86/instructions.asm",
        "kernel/x86/memory.asm",
    ],
    script="kernel/kernel.lds",
    flat="build/proxen.bin",
    symbol_table=make_table,
)
