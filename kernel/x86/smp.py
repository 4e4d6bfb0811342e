"""Starting the other processors, one after another: INIT, two start-up IPIs, real mode, long mode,
their own areas.

Source: Intel SDM vol 3 9.4 (multiple-processor initialization). A processor that does not answer is
left out, with a remark.
"""

from kpy import (
    Ptr,
    Slice,
    atomic_load,
    atomic_store,
    copy_slice,
    panic,
    ref,
    static,
    store,
    u8,
    u32,
    u64,
)

from kernel.console.console import printk
from kernel.x86 import acpi, percpu
from kernel.x86.apic import apic_init, apic_send_init, apic_send_startup, apic_timer_init
from kernel.x86.bootmem import low_ram_page
from kernel.x86.cpu import pause, rdtsc, wait_for_interrupt
from kernel.x86.descriptors import load_descriptor_tables, set_syscall_entry
from kernel.x86.features import core_cr4, set_control_registers
from kernel.x86.fpu import fpu_init_cpu
from kernel.x86.ipi import WORK_EVENT, ipi_kick
from kernel.x86.memlayout import DIRECTMAP_VIRT_START, PERCPU_VIRT_START, image_to_maddr
from kernel.x86.paging import core_l4, map_percpu_area
from kernel.x86.percpu import AREA_BYTES, Pcpu, mark_online, stack_end, this_cpu
from kernel.x86.predictors import set_speculation_controls
from kernel.x86.tsc import delay_us

START_TIMEOUT_MS = 2000
INIT_DELAY_US = 10_000
STARTUP_DELAY_US = 200

ap_trampoline_start = static(u8, extern=True, symbol="ap_trampoline_start")
ap_trampoline_end = static(u8, extern=True, symbol="ap_trampoline_end")
ap_first_l4 = static(u32, extern=True, symbol="ap_first_l4")
boot_l4 = static(u8, extern=True, symbol="boot_l4")
trampoline_maddr = static(u64)  # a page of the first MiB
ap_stack_end = static(u64, symbol="ap_stack_end")  # for the processor that starts now
released = static(u32)  # the other processors may run guests
sync_turn = static(u32)  # TSC check: 0 idle, 1 the new processor's turn, 2 ours
sync_tsc = static(u64)
sync_is_good = static(bool)


def start_other_cpus() -> None:
    """Start every processor that the firmware reports besides this one. Context: boot."""
    lay_trampoline()
    for i in range(acpi.nr_cpus_found):
        if acpi.cpu_apic_ids[i] != this_cpu().apic_id:
            start_cpu(acpi.cpu_apic_ids[i])
    printk(f"{percpu.nr_cpus} processors run")


def lay_trampoline() -> None:
    """Copy the code with which processors start to a page of RAM in the first MiB, which is never
    given to anyone, and which the direct map shows.
    """
    global trampoline_maddr
    trampoline_maddr = low_ram_page()
    start = u64(ref(ap_trampoline_start))
    length = u64(ref(ap_trampoline_end)) - start
    target = Slice[u8](Ptr[u8](DIRECTMAP_VIRT_START + trampoline_maddr), length)
    copy_slice(target, Slice[u8](ref(ap_trampoline_start), length))
    l4 = Ptr[u32](u64(ref(target[u64(ref(ap_first_l4)) - start])))
    store(l4, u32(u64(image_to_maddr(u64(ref(boot_l4))))))


def start_cpu(destination: u32) -> None:
    """Start one processor and wait until it runs."""
    global ap_stack_end
    id = percpu.nr_cpus
    cpu = prepare_area(id, destination)
    ap_stack_end = stack_end(cpu)
    percpu.nr_cpus = id + 1
    apic_send_init(destination)
    delay_us(INIT_DELAY_US)
    for _ in range(2):
        apic_send_startup(destination, u32(trampoline_maddr >> 12))
        delay_us(STARTUP_DELAY_US)
    for _ in range(START_TIMEOUT_MS):
        if cpu.is_online:
            check_tsc()
            return
        delay_us(1000)
    percpu.nr_cpus = id
    printk(f"processor {id}, APIC id {destination}, does not start")


def prepare_area(id: u32, destination: u32) -> Ptr[Pcpu]:
    """Map a processor's area and number it."""
    map_percpu_area(id)
    cpu = Ptr[Pcpu](PERCPU_VIRT_START + u64(id) * AREA_BYTES)
    cpu.id = id
    cpu.apic_id = destination
    return cpu


def init_this_cpu() -> None:
    """Bring a processor into the state in which the core runs guests."""
    cpu = this_cpu()
    set_control_registers()
    cpu.cr4 = core_cr4
    set_speculation_controls(cpu)
    cpu.loaded_cr3 = core_l4
    load_descriptor_tables(cpu)
    set_syscall_entry(cpu)
    fpu_init_cpu(cpu)
    apic_init()
    apic_timer_init()
    mark_online(cpu)


def answer_tsc_check() -> None:
    """The new processor's part of `check_tsc`: its reading must lie after the one that was handed
    over.
    """
    global sync_is_good, sync_tsc
    while atomic_load(ref(sync_turn)) != 1:
        pause()
    sync_is_good = rdtsc() >= sync_tsc
    sync_tsc = rdtsc()
    atomic_store(ref(sync_turn), 2)


def check_tsc() -> None:
    """See whether a new processor's time-stamp counter agrees with this one's, to within the time
    it takes to ask.
    """
    global sync_tsc
    sync_tsc = rdtsc()
    atomic_store(ref(sync_turn), 1)
    while atomic_load(ref(sync_turn)) != 2:
        pause()
    if not sync_is_good or rdtsc() < sync_tsc:
        panic("the processors' time-stamp counters disagree; no system time can be kept")
    atomic_store(ref(sync_turn), 0)


def release_other_cpus() -> None:
    """Let the other processors look for guests to run. Context: boot, last."""
    atomic_store(ref(released), 1)
    for cpu in range(1, percpu.nr_cpus):
        ipi_kick(cpu, WORK_EVENT)


def wait_for_release() -> None:
    """Sleep until `release_other_cpus`; requests of other processors are served."""
    while atomic_load(ref(released)) == 0:
        wait_for_interrupt()
