"""Work that one processor asks of another: a mailbox of flags each, and an interrupt that says
"look".

The core runs with interrupts off, so whoever waits, for a lock or for others' flushes, serves its
own mailbox meanwhile. Hence serving must be possible anywhere: it takes no lock and changes nothing
that the waiting code relies on.
"""

import abi
from kpy import (
    Ptr,
    atomic_add,
    atomic_and,
    atomic_load,
    atomic_or,
    atomic_xchg,
    bit,
    ctz,
    inline,
    noinline,
    ref,
    truncate,
    u32,
    u64,
    wrapping_sub,
)

from kernel.trace.wide import trace_value
from kernel.x86.apic import IPI_VECTOR, apic_send_ipi
from kernel.x86.cpu import pause, write_cr3
from kernel.x86.descriptors import load_core_tables
from kernel.x86.paging import core_l4
from kernel.x86.percpu import Pcpu, cpu_by_id, online_cpus, this_cpu
from kernel.x86.predictors import leave_domain
from kernel.x86.tlb import flush_tlb_local, is_flush_deferred, note_flush_start, serve_flush

WORK_FLUSH_TLB = 1 << 0
WORK_RESCHEDULE = 1 << 1
WORK_EVENT = 1 << 2  # only pass through exit_to_guest
WORK_DROP_STATE = 1 << 3


def ipi_kick(cpu: u32, work: u32) -> None:
    """Ask a processor for `work` (WORK_*), and interrupt it unless it had been asked already."""
    target = cpu_by_id(cpu)
    if atomic_or(ref(target.mailbox), work) & work != work:
        apic_send_ipi(target.apic_id, IPI_VECTOR)


@inline
def serve_mailbox() -> None:
    """Do what others asked of this processor. Context: anywhere in the core, with locks held or
    not.
    """
    cpu = this_cpu()
    if cpu.mailbox != 0:
        serve(cpu)


@noinline
def serve(cpu: Ptr[Pcpu]) -> None:
    work = atomic_xchg(ref(cpu.mailbox), 0)
    if work & WORK_DROP_STATE != 0:
        leave_lazy_tables(cpu)
    if work & WORK_FLUSH_TLB != 0:
        serve_flush(cpu)
    if work & WORK_RESCHEDULE != 0:
        cpu.reschedule = True


def leave_lazy_tables(cpu: Ptr[Pcpu]) -> None:
    """Stop using page tables left over from a vCPU that does not run here any more."""
    if not cpu.is_lazy or cpu.current is None:
        return
    atomic_and(ref(cpu.current.domain.dirty_cpumask), ~bit(u64(cpu.id)))
    leave_domain()
    cpu.current = None
    cpu.fpu_owner = 0
    load_core_tables(cpu)  # first: the guest's GDT is not mapped in the core's page tables
    note_flush_start(cpu)
    cpu.loaded_cr3 = core_l4
    write_cr3(core_l4)


def flush_tlb_mask(cpus: u64) -> None:
    """Flush the TLBs of a set of processors, this one perhaps among them, and wait until it is
    done. Idle ones are not woken: they flush as they resume.
    """
    me = bit(u64(this_cpu().id))
    busy: u64 = 0
    rest = cpus & ~me & online_cpus()
    while rest != 0:
        target = truncate(u32, ctz(rest))
        rest &= rest - 1
        if not is_flush_deferred(cpu_by_id(target)):
            busy |= bit(u64(target))
    flush_others(busy, WORK_FLUSH_TLB)
    if cpus & me != 0:
        flush_tlb_local()


def drop_lazy_state(cpus: u64) -> None:
    """Make idle processors of a set leave the page tables of whatever ran there last, and flush;
    wait for them.

    For tables that are about to be freed: the vCPUs that used them must have been stopped for good
    before.
    """
    cpu = this_cpu()
    leave_lazy_tables(cpu)
    flush_others(cpus & ~bit(u64(cpu.id)), WORK_FLUSH_TLB | WORK_DROP_STATE)


def flush_others(cpus: u64, work: u32) -> None:
    """Ask the other processors of a set for a flush (and more), and wait for all of them."""
    targets = cpus & online_cpus()
    trace_value(abi.TRC_PROXEN_TLB_SHOOTDOWN, targets)
    rest = targets
    while rest != 0:
        target = truncate(u32, ctz(rest))
        rest &= rest - 1
        atomic_add(ref(cpu_by_id(target).flush_requested), 1)
        ipi_kick(target, work)
    rest = targets
    while rest != 0:
        wait_for_flush(cpu_by_id(truncate(u32, ctz(rest))))
        rest &= rest - 1


def wait_for_flush(target: Ptr[Pcpu]) -> None:
    """Wait until a processor has served every flush asked of it so far."""
    asked = atomic_load(ref(target.flush_requested))
    while wrapping_sub(atomic_load(ref(target.flush_served)), asked) >= 1 << 31:
        serve_mailbox()
        pause()
