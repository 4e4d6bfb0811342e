"""The core's start, from the boot loader to the first guest: read it from top to bottom.

`start_core` runs on the boot stack with the early page tables, `start_on_own_stack` on the first
processor's own. The other processors come from ap_boot.asm to `start_ap`. All of them end in
`run_guests`, and from then on live in entry.asm.
"""

from kpy import Fn, Never, Ptr, export, extern, static, u32, u64

import kernel.entry.core_trap  # noqa: F401
import kernel.entry.hypercall  # noqa: F401  reached from entry.asm
import kernel.entry.trap  # noqa: F401
import kernel.handlers  # noqa: F401  they register themselves
import kernel.irq.irq  # noqa: F401
import kernel.panic.panic  # noqa: F401  the compiler calls kpy_panic
from kernel.base.cmdline import command_line, equal, option, set_command_line
from kernel.console.console import console_init, printk
from kernel.console.screen import map_screen, redraw, screen_release
from kernel.dom0.construct import construct_dom0
from kernel.entry.exit import exit_to_guest
from kernel.frames.allocation import free_frames, init_frames
from kernel.frames.iomem import protect_core_devices
from kernel.irq.irq import console_irq_init
from kernel.panic.cpu_watchdog import watch_neighbour
from kernel.sched.schedule import schedule_first
from kernel.sched.time import init_wallclock
from kernel.state.frame_table import FRAME_BYTES
from kernel.state.vcpu import Vcpu
from kernel.x86 import acpi, efi
from kernel.x86.apic import apic_id, apic_map, apic_timer_calibrate
from kernel.x86.boot_area import MULTIBOOT2_BOOTLOADER_MAGIC
from kernel.x86.boot_info import boot_command_line, nr_modules, use_direct_map
from kernel.x86.bootmem import find_free_ranges, lift_alloc_limit, pages_taken, settle_memory_map
from kernel.x86.calibrate import measure_tsc_khz
from kernel.x86.core_maps import map_frame_tables
from kernel.x86.cpu import rdtsc, write_cr3
from kernel.x86.descriptors import fill_idt, load_descriptor_tables
from kernel.x86.features import read_features, set_control_registers
from kernel.x86.fpu import fpu_init
from kernel.x86.ioapic import ioapic_init
from kernel.x86.memlayout import note_image_offset
from kernel.x86.multiboot import read_multiboot
from kernel.x86.multiboot2 import read_multiboot2
from kernel.x86.numa import nr_nodes, read_nodes
from kernel.x86.paging import build_core_tables, core_l4, map_percpu_area
from kernel.x86.percpu import cpu_by_id, stack_end, this_cpu
from kernel.x86.smp import (
    answer_tsc_check,
    init_this_cpu,
    release_other_cpus,
    start_other_cpus,
    wait_for_release,
)
from kernel.x86.speculation import (
    empty_buffers_on_exit,
    read_speculation,
    report_speculation,
)
from kernel.x86.topology import is_uneven, read_topology, threads_per_core
from kernel.x86.tsc import tsc_init, tsc_khz

CALIBRATION_MS = 10

start_tsc = static(u64)  # when the core's first function began


@extern
def call_on_stack(end: u64, function: Fn[[], Never]) -> Never:
    """Continue with a function on another stack (instructions.asm)."""


@extern
def enter_guest(vcpu: Ptr[Vcpu]) -> Never:
    """Load a vCPU's registers and leave for ring 3 (entry.asm)."""


@export
def start_core(loader_magic: u32, loader_info: u64, image_offset: u64) -> Never:
    """Start the core. Context: from boot.asm, on the boot stack, with the early page tables.

    Args: loader_magic, which kind of loader; loader_info, machine address of what it left;
    image_offset, how far from where it was linked it put the image.
    """
    global start_tsc
    start_tsc = rdtsc()
    note_image_offset(image_offset)
    if loader_magic == MULTIBOOT2_BOOTLOADER_MAGIC:
        read_multiboot2(loader_info)
    else:
        read_multiboot(loader_info)
    set_command_line(boot_command_line())
    console_init()
    printk(f"Proxen, a Xen-ABI hypervisor; command line: {command_line}")
    fill_idt()
    load_descriptor_tables(this_cpu())  # from here on a fault is reported
    read_features()
    set_control_registers()
    settle_memory_map()
    find_free_ranges()
    build_core_tables()
    map_percpu_area(0)
    map_screen()
    write_cr3(core_l4)
    use_direct_map()
    lift_alloc_limit()
    redraw()
    printk(f"memory mapped, {nr_modules} boot modules")
    call_on_stack(stack_end(cpu_by_id(0)), start_on_own_stack)


def start_on_own_stack() -> Never:
    """Go on with the first processor's own area: interrupt controllers, time, memory, processors,
    domain 0.
    """
    efi.efi_init()
    if efi.efi_revision != 0:
        printk(f"UEFI {efi.efi_revision >> 16}.{(efi.efi_revision & 0xFFFF) // 10}")
    if not acpi.acpi_init():
        printk("no ACPI tables: one processor, no I/O APIC")
    apic_map(acpi.apic_maddr)
    tsc_init(measure_tsc_khz())
    fpu_init()
    read_speculation()
    empty_buffers_on_exit()
    init_this_cpu()
    this_cpu().apic_id = apic_id()
    apic_timer_calibrate(CALIBRATION_MS * tsc_khz)
    printk(f"time-stamp counter at {tsc_khz} kHz, measured {since_start_ms()} ms after the start")
    report_speculation()
    ioapic_init()
    protect_core_devices()
    map_frame_tables(FRAME_BYTES)
    start_other_cpus()
    read_topology()
    read_nodes()
    if is_uneven:
        printk(f"{threads_per_core()} threads on a core, {nr_nodes} nodes")
    init_frames()
    printk(
        f"{free_frames() * 4} KiB free, {pages_taken * 4} KiB taken by tables, "
        f"{since_start_ms()} ms"
    )
    init_wallclock()
    console_irq_init()
    construct_dom0()
    printk(f"domain 0 starts, {since_start_ms()} ms after the core")
    if not equal(option(b"vga"), b"keep"):
        screen_release()
    release_other_cpus()
    run_guests()


def since_start_ms() -> u64:
    """Return the milliseconds since the core began. Context: after tsc_init."""
    return (rdtsc() - start_tsc) // tsc_khz


@export
def start_ap() -> Never:
    """Start another processor. Context: from ap_boot.asm, on its own stack."""
    init_this_cpu()
    answer_tsc_check()
    wait_for_release()
    run_guests()


def run_guests() -> Never:
    """Run guests on this processor, for ever."""
    watch_neighbour()
    enter_guest(exit_to_guest(schedule_first()))
