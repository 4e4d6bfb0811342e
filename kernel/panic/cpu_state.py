"""What every processor is doing: asked for by NMI, so that one that hangs answers too, and printed
by the processor that asks.

An NMI can strike anywhere, so its handler takes no lock: it only stores what it interrupted in a
place of its own, which the asking processor reads once the answer's number is there.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Slice,
    Tainted,
    atomic_add,
    atomic_load,
    atomic_store,
    bit,
    build_time,
    cold,
    load,
    ref,
    static,
    struct,
    trusted,
    u8,
    u32,
    u64,
    wrapping_sub,
)

from kernel.console.console import end_partial_line, printk
from kernel.panic.backtrace import MAX_FRAMES, collect_frames, print_address, print_frames
from kernel.panic.registers import print_registers
from kernel.x86.apic import apic_send_nmi_to_others
from kernel.x86.cpu import pause, rdtsc, read_rbp
from kernel.x86.percpu import NR_CPUS, Pcpu, nr_cpus, online_cpus, this_cpu
from kernel.x86.selectors import CORE_CS
from kernel.x86.tsc import tsc_khz

NR_NAMES = 48
RING_MASK = 3
PATIENCE_MS = 3000  # a processor may be a thread of an emulator on a busy host
PATIENCE_TICKS = 1 << 33  # before the rate of the TSC is known


@build_time
def hypercall_names():
    """Return the name of each hypercall by its number."""
    prefix = "__HYPERVISOR_"
    names = {number: b"" for number in range(NR_NAMES)}
    for name, number in vars(abi).items():
        if name.startswith(prefix) and number in names:
            names[number] = name.removeprefix(prefix).encode()
    return [{"text": name} for name in names.values()]


@struct
class Name:
    text: Slice[u8]


@struct
class CpuState:
    """What a processor was doing when it was asked; written by that processor alone."""

    answered: u32  # the number of the request
    has_vcpu: bool
    is_lazy: bool  # the vCPU is not running here any more
    kernel_mode: bool
    domain_id: u64
    vcpu_id: u64
    guest: Tainted[abi.cpu_user_regs]  # of the vCPU, as they were when it entered the core
    regs: Tainted[abi.cpu_user_regs]  # of the processor
    nr_frames: u64
    frames: Array[u64, MAX_FRAMES]


names = static(Array[Name, NR_NAMES], hypercall_names())
states = static(Array[CpuState, NR_CPUS])
last_request = static(u32)


@cold
def is_asked(cpu: Ptr[Pcpu]) -> bool:
    """Say whether somebody waits for a processor's state."""
    return atomic_load(ref(states[cpu.id].answered)) != atomic_load(ref(last_request))


@cold
def note_state(regs: Ptr[Tainted[abi.cpu_user_regs]]) -> None:
    """Store what this processor was doing. Context: anywhere; takes no lock.

    Args: regs: what it was interrupted with.
    """
    cpu = this_cpu()
    request = atomic_load(ref(last_request))
    state = ref(states[cpu.id])
    state.regs = load(regs)
    state.nr_frames = 0
    if regs.cs & RING_MASK == 0:
        # the core's own registers
        state.nr_frames = collect_frames(cpu, trusted(regs.rbp), ref(state.frames))
    note_vcpu(cpu, state)
    atomic_store(ref(state.answered), request)


@cold
def note_vcpu(cpu: Ptr[Pcpu], state: Ptr[CpuState]) -> None:
    """Store whose work a processor does, as numbers: the vCPU may be gone when they are read."""
    v = cpu.current
    state.has_vcpu = v is not None
    if v is None:
        return
    state.is_lazy = cpu.is_lazy
    state.kernel_mode = v.kernel_mode
    state.domain_id = u64(v.domain.domain_id)
    state.vcpu_id = u64(v.vcpu_id)
    state.guest = v.regs


@cold
def ask_other_cpus() -> None:
    """Have every other processor note its state, and wait until they have, but not for ever.

    Locks: any; an NMI needs none.
    """
    atomic_add(ref(last_request), 1)
    if nr_cpus <= 1:
        return
    apic_send_nmi_to_others()
    patience = PATIENCE_MS * tsc_khz if tsc_khz != 0 else u64(PATIENCE_TICKS)
    start = rdtsc()
    while silent_cpus() != 0 and wrapping_sub(rdtsc(), start) < patience:
        pause()


@cold
def silent_cpus() -> u64:
    """Return the other processors that did not answer the last request, a bit each."""
    request = atomic_load(ref(last_request))
    silent: u64 = 0
    for cpu in range(nr_cpus):
        asked = online_cpus() >> cpu & 1 != 0 and cpu != this_cpu().id
        if asked and atomic_load(ref(states[cpu].answered)) != request:
            silent |= bit(u64(cpu))
    return silent


@cold
def print_other_cpus() -> None:
    """Print what every other processor was doing when it answered."""
    silent = silent_cpus()
    for cpu in range(nr_cpus):
        if cpu == this_cpu().id or online_cpus() >> cpu & 1 == 0:
            continue
        if silent >> cpu & 1:
            printk(f"cpu {cpu} does not answer, not even to an NMI")
        else:
            printk(f"cpu {cpu}:")
            print_state(ref(states[cpu]))


@cold
def print_state(state: Ptr[CpuState]) -> None:
    """Print what a processor was doing, in as few lines as that takes."""
    print_work(state)
    if state.regs.cs & RING_MASK != 0:
        print_registers(ref(state.regs))
    else:
        printk(f"in the core, rsp {state.regs.rsp:#018x}")
        rip = trusted(state.regs.rip)  # the core's own
        print_address(rip, rip)
        print_frames(state.frames[0 : state.nr_frames])


@cold
def print_work(state: Ptr[CpuState]) -> None:
    """Print for whom a processor works, and how that guest entered the core."""
    if not state.has_vcpu or state.is_lazy:
        printk("no vCPU runs here")
        return
    guest = load(ref(state.guest))  # a copy: another request may change the state meanwhile
    number = guest.rax
    mode = "kernel" if state.kernel_mode else "user"
    if state.regs.cs & RING_MASK != 0:
        printk(f"d{state.domain_id}v{state.vcpu_id} runs in {mode} mode")
    elif guest.entry_vector == 0 and state.kernel_mode and number < NR_NAMES:
        printk(
            f"d{state.domain_id}v{state.vcpu_id}, hypercall {number} {names[number].text}"
            f"({guest.rdi:#x}, {guest.rsi:#x}, {guest.rdx:#x}, {guest.r10:#x}, {guest.r8:#x})"
            f" at rip {guest.rip:#x}"
        )
    else:
        printk(
            f"d{state.domain_id}v{state.vcpu_id} entered the core from {mode} mode by vector "
            f"{guest.entry_vector} at rip {guest.rip:#x}"
        )


@cold
def report_all(regs: Ptr[Tainted[abi.cpu_user_regs]]) -> None:
    """Print what every processor is doing, this one first; then all go on.

    Args: regs: what this processor was interrupted with.
    """
    cpu = this_cpu()
    was_in_nmi = cpu.in_nmi
    cpu.in_nmi = True  # printk takes no locks: one that hangs may hold them
    end_partial_line()
    ask_other_cpus()
    note_state(regs)
    printk(f"cpu {cpu.id}:")
    print_state(ref(states[cpu.id]))
    print_other_cpus()
    cpu.in_nmi = was_in_nmi


@cold
def report_from_here() -> None:
    """Print what every processor is doing; this one, which serves an interrupt or a hypercall, is
    said to be with its guest.
    """
    cpu = this_cpu()
    v = cpu.current
    if v is not None and not cpu.is_lazy:
        report_all(ref(v.regs))
    else:
        here = Tainted[abi.cpu_user_regs](rip=u64(report_from_here), rbp=read_rbp(), cs=CORE_CS)
        report_all(ref(here))
