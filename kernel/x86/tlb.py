"""TLB flushes, on this processor and on others, and the clock that saves most of them.

Guest mappings are never global, so loading CR3 flushes them all. The clock ticks with each flush; a
processor notes the tick at which its last flush began. Whoever takes a mapping away stamps the
frame with the clock, and before the frame gets a new owner only processors that have not flushed
since need to. The clock must not be read before all processors see that the mapping is gone: a
page-table entry is therefore stored by an instruction that no later load overtakes.
"""

from kpy import (
    Ptr,
    atomic_add,
    atomic_load,
    atomic_store,
    bit,
    ctz,
    inline,
    ref,
    static,
    truncate,
    u32,
    u64,
    wrapping_sub,
)

from kernel.x86.cpu import invlpg, read_cr3, write_cr3
from kernel.x86.percpu import Pcpu, cpu_by_id, online_cpus, this_cpu

flush_clock = static(u64)


@inline
def tlb_clock_now() -> u32:
    """Return the stamp for a frame whose last mapping is gone. Its low 32 bits are enough: see
    `cpus_needing_flush`.
    """
    return truncate(u32, atomic_load(ref(flush_clock)))


def note_flush_start(cpu: Ptr[Pcpu]) -> None:
    """Tick: the flush that follows covers everything stamped before."""
    cpu.flush_time = atomic_add(ref(flush_clock), 1) + 1


def flush_tlb_local() -> None:
    """Forget all translations of guest memory on this processor."""
    note_flush_start(this_cpu())
    write_cr3(read_cr3())


@inline
def flush_tlb_one_local(va: u64) -> None:
    """Forget the translation of one address on this processor."""
    invlpg(va)


def cpus_needing_flush(cpus: u64, stamp: u32) -> u64:
    """Return those of `cpus` that have not flushed since `stamp` was taken.

    A stamp older than 2^32 ticks is taken for a younger one, which only flushes too much.
    """
    now = atomic_load(ref(flush_clock))
    age = u64(wrapping_sub(truncate(u32, now), stamp))
    taken = now - min(age, now)
    needing: u64 = 0
    rest = cpus & online_cpus()
    while rest != 0:
        cpu = truncate(u32, ctz(rest))
        rest &= rest - 1
        if cpu_by_id(cpu).flush_time <= taken:
            needing |= bit(u64(cpu))
    return needing


@inline
def later(a: u32, b: u32) -> u32:
    """Return the later of two stamps, by their age as `cpus_needing_flush` sees it: memory that was
    never mapped has stamp 0 for ever, so they may be any time apart.
    """
    now = tlb_clock_now()
    return a if wrapping_sub(now, a) < wrapping_sub(now, b) else b


@inline
def is_flush_deferred(target: Ptr[Pcpu]) -> bool:
    """Ask a processor for a flush. Returns: whether it is idle, and so will flush by itself.

    An idle processor uses no translation of the guest's tables that it still has loaded: waking
    it can wait. The order matters: either it sees our request as it resumes, or we see that it has.
    """
    atomic_store(ref(target.flush_on_resume), 1)
    return atomic_load(ref(target.is_lazy))


@inline
def stop_being_lazy(cpu: Ptr[Pcpu]) -> None:
    """Make this processor use its tables again, after the flush that was asked of it meanwhile."""
    atomic_store(ref(cpu.is_lazy), False)
    if atomic_load(ref(cpu.flush_on_resume)) != 0:
        atomic_store(ref(cpu.flush_on_resume), 0)
        flush_tlb_local()


def serve_flush(cpu: Ptr[Pcpu]) -> None:
    """Do the flush that others wait for on this processor."""
    asked = atomic_load(ref(cpu.flush_requested))
    atomic_store(ref(cpu.flush_on_resume), 0)
    flush_tlb_local()
    atomic_store(ref(cpu.flush_served), asked)
