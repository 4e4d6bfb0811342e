"""How the model's machine comes up: what the core's own boot would have left behind, then domain 0.

The firmware's part (memory map, features, clock rate) is set by hand; from there on it is the
core's code that runs: the heap, the processors' initialisation, the making of domain 0.
"""

import ctypes

from kernel.base.ids import PAGE_SIZE as PAGE
from tests.model import guest
from tests.model.memory import END, FIRST, NR_BOOT_FRAMES
from tests.model.processors import NR_MODEL_CPUS

KHZ = 1_000_000  # the time-stamp counter counts nanoseconds
DOM0_PAGES = 48
PRESENT_TABLE = 0x63  # present, writable, accessed, dirty: the core's, no guest's


def boot(machine):
    """Bring the machine up to a running domain 0; return its Domain and its pages."""
    describe_machine(machine)
    machine["kernel.x86.smp.init_this_cpu"]()
    machine["kernel.frames.allocation.init_frames"]()
    machine["kernel.x86.percpu.nr_cpus"].value = NR_MODEL_CPUS
    for number in range(1, NR_MODEL_CPUS):
        cpu = machine["kernel.x86.percpu.cpu_by_id"](number)
        cpu.id = cpu.apic_id = number
        machine["tests.model.drive.start_cpu"](number)
    domain, pages = construct_dom0(machine)
    machine["tests.model.drive.start_cpu"](0)
    machine["kernel.x86.smp.release_other_cpus"]()
    machine["tests.model.drive.settle"]()
    return guest.Guest(machine, domain, pages)


def describe_machine(machine):
    """Set what the core learns from firmware and processor."""
    machine["tests.model.processors.stacks"].value = machine.memory.stacks
    machine["kernel.x86.boot_info.phys_window"].value = machine.memory.address(0)
    machine["kernel.x86.paging.core_l4"].value = FIRST * PAGE
    core_l4 = machine.memory.page(FIRST)
    for slot in range(256, 272):
        core_l4[slot] = (FIRST + slot - 255) * PAGE | PRESENT_TABLE
    bootmem = "kernel.x86.bootmem"
    region = machine[f"{bootmem}.memory_map"][0]
    region.start, region.end, region.kind = FIRST * PAGE, END * PAGE, 1
    free = machine[f"{bootmem}.free_ranges"][0]
    free.start, free.end = (FIRST + NR_BOOT_FRAMES) * PAGE, END * PAGE
    machine[f"{bootmem}.nr_regions"].value = machine[f"{bootmem}.nr_free_ranges"].value = 1
    machine["kernel.x86.tsc.tsc_khz"].value = KHZ
    machine["kernel.x86.tsc.set_scale"](KHZ)
    machine.text = ctypes.create_string_buffer(b"proxen dom0_max_vcpus=1")
    machine["kernel.base.cmdline.set_command_line"](machine.text.value)


def construct_dom0(machine):
    """Make domain 0 without a kernel file: memory and tables here, vCPU 0 by the core."""
    domain = machine["kernel.dom0.construct.create_dom0"]()
    domain.max_pages = END
    pages = []
    for number in range(DOM0_PAGES):
        mfn = machine["kernel.frames.allocation.alloc_domain_frames"](domain, 0, 0)
        assert mfn is not None, "the model has too little memory for domain 0"
        machine["kernel.frames.m2p.set_m2p"](mfn, number)
        pages.append(mfn)
    l4 = guest.write_tables(machine, pages)
    machine["kernel.dom0.construct.layout"].stack_end = guest.STACK
    machine["kernel.dom0.construct.start_first_vcpu"](domain, l4)
    return domain, pages
