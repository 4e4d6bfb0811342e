"""How the hypervisor core is built: `python -m kpy build core` makes build/proxen.elf and the
bootable build/proxen.bin.
"""

from kpy.front.target import Stack, Target

from linetable.encode import make_table

# Of kernel/x86/percpu.py and boot_area.py. An exception or interrupt of the core itself, which only
# the idle loop allows, comes on top; NMI, #DF, #MC and #DB have stacks of their own.
PROCESSOR_STACK = 6 * 4096 - 64
EXCEPTION_STACK = 4096 - 64
ENTRIES = ["trap_from_guest", "interrupt_from_guest", "syscall_from_guest", "syscall32_from_guest"]
IN_CORE = ["fault_in_core", "interrupt_in_core"]

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
    stacks=[
        Stack(
            "stack of a processor",
            PROCESSOR_STACK,
            [*ENTRIES, "iret_fault", "kernel.main.start_on_own_stack", "start_ap"],
            IN_CORE,
        ),
        Stack("NMI stack", EXCEPTION_STACK, ["nmi_entry"]),
        Stack("#DF stack", EXCEPTION_STACK, ["double_fault_entry"]),
        Stack("#MC stack", EXCEPTION_STACK, ["machine_check_entry"]),
        Stack("#DB stack", EXCEPTION_STACK, ["debug_entry"]),
    ],
)
