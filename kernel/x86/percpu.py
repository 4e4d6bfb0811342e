"""Per-CPU areas: the `Pcpu` of each physical processor and its stacks, found by masking the stack
pointer.

An area is AREA_BYTES of address space, aligned to its size. The pages between the stacks are never
mapped, so an overflow is a page fault (reported on the double-fault stack) and not somebody else's
data:

| pages | what                                                                                 |
|-------|--------------------------------------------------------------------------------------|
| 0     | `Pcpu`, the task-state segment in it                                                 |
| 2     | stack for NMI                                                                        |
| 4     | stack for #DF                                                                        |
| 6     | stack for #DB: it can strike when `syscall` has just entered, still on the guest's   |
| 8     | stack for #MC                                                                        |
| 10-15 | the stack                                                                            |
"""

from kpy import (
    Array,
    Ptr,
    Tainted,
    atomic_load,
    atomic_or,
    bit,
    container_of,
    inline,
    ref,
    sizeof,
    static,
    struct,
    u8,
    u16,
    u32,
    u64,
)

from kernel.state.trace_ring import TraceRing
from kernel.x86.cpu import read_rsp
from kernel.x86.memlayout import PERCPU_VIRT_START

NR_CPUS = 32
AREA_BYTES = 0x10000
MAPPED_PAGES = (0, 2, 4, 6, 8, 10, 11, 12, 13, 14, 15)
STACK_PAGES = sum(1 << page for page in MAPPED_PAGES if page)  # a bit each
# Below their pages' ends: the entry stubs push no es to gs, which `cpu_user_regs` has above ss.
STACK_ROOM = 64
NMI_STACK_END = 3 * 4096 - STACK_ROOM
DF_STACK_END = 5 * 4096 - STACK_ROOM
DB_STACK_END = 7 * 4096 - STACK_ROOM
MC_STACK_END = 9 * 4096 - STACK_ROOM
STACK_END = AREA_BYTES - STACK_ROOM  # and masking an empty stack's rsp must stay in the area


@struct(packed=True)
class Tss:
    """The task-state segment. Source: Intel SDM vol 3 8.7."""

    reserved0: u32
    rsp0: u64  # where traps from ring 3 push: the end of `regs` of the vCPU that runs
    rsp1: u64
    rsp2: u64
    reserved1: u64
    ist: Array[u64, 7]
    reserved2: u64
    reserved3: u16
    iomap_base: u16


@struct(size=4096)
class Pcpu:
    """What the core keeps for each physical processor."""

    tss_padding: Array[u8, 24]  # keeps rsp0 within one cache line
    tss: Tss
    id: u32
    apic_id: u32
    is_online: bool
    reschedule: bool  # ask the scheduler before returning to a guest
    is_lazy: bool  # the loaded address space is left over from a vCPU that no longer runs
    in_nmi: bool  # or in a report that must not wait for any lock: printk takes none
    flush_on_resume: u32  # a flush was asked of it while lazy: due before it uses the tables again
    mailbox: u32  # WORK_* bits set by others (kernel/x86/ipi.py)
    current: Ptr["kernel.state.vcpu.Vcpu"] | None  # noqa: F821  whose tables and segments are loaded
    fpu_owner: u64  # address of the vCPU whose FPU state is loaded; compared only, it may be gone
    loaded_cr3: u64
    loaded_gdt: u64  # base in the GDT register
    has_ldt: bool
    ts_is_set: bool  # CR0.TS
    debug_loaded: bool  # breakpoints of a guest are armed
    tsc_aux: Tainted[u32]
    spec_ctrl: u64
    xcr0: u64
    cr4: u64
    dr6: u64  # of the last #DB
    flush_requested: u32  # TLB flushes asked of this processor, and done by it
    flush_served: u32
    flush_time: u64  # TLB clock when the last flush began (kernel/x86/tlb.py)
    nmi_count: u64
    nr_ipis: u64  # interrupts taken from other processors
    trace: TraceRing


@struct(packed=True)
class Area:
    """The whole of a processor's area; what is between may be no memory."""

    pcpu: Pcpu
    stacks: Array[u8, AREA_BYTES - 4096 - 1]
    last: u8


assert sizeof(Tss) == 104
assert sizeof(Area) == AREA_BYTES

nr_cpus = static(u32, 1)  # known to the firmware and started
online_mask = static(u64)


@inline
def this_cpu() -> Ptr[Pcpu]:
    """Return the running processor's `Pcpu`: every stack of the core lies inside its area.

    Reckoned from the area's end, which is no null pointer whatever rsp is: nothing to check.
    """
    return ref(container_of(Ptr[u8](read_rsp() | (AREA_BYTES - 1)), Area, "last").pcpu)


@inline
def cpu_by_id(cpu: u32) -> Ptr[Pcpu]:
    """Return the `Pcpu` of a started processor."""
    assert cpu < nr_cpus, "no such processor"
    return Ptr[Pcpu](PERCPU_VIRT_START + u64(cpu) * AREA_BYTES)


@inline
def online_cpus() -> u64:
    """Return the processors that run the core, a bit each."""
    return atomic_load(ref(online_mask))


@inline
def mark_online(cpu: Ptr[Pcpu]) -> None:
    """Count a processor among those that run the core."""
    cpu.is_online = True
    atomic_or(ref(online_mask), bit(u64(cpu.id)))


@inline
def stack_end(cpu: Ptr[Pcpu]) -> u64:
    """Return the upper end of a processor's stack."""
    return u64(cpu) + STACK_END
