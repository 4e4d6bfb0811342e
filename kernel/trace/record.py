"""Tracing: `trace_2(abi.TRC_SCHED_BLOCK, domain, vcpu)` is one line where something happens.

While nobody traces an event, it costs a test of one byte and a branch that is not taken. While
somebody does, a record goes to this processor's ring, without a lock, in less than 30 instructions:
no question is asked but whether the record after this one still fits. Everything else that can
happen to a ring, its end, a slow reader, a masked processor, is in `kernel.trace.turn`.

The record layouts are Xen's (kernel/abi/trace.h), so Xen's own tools read them. Nothing here may be
called from an NMI, which could strike in the middle of a record.
"""

import abi
from kpy import (
    Ptr,
    Tainted,
    TypeVar,
    barrier,
    cold,
    container_of,
    ctz,
    inline,
    ref,
    sizeof,
    truncate,
    u8,
    u32,
    u64,
    volatile_store,
    wrapping_add,
    wrapping_sub,
)

from kernel.state.trace_ring import (
    HEADER_1,
    HEADER_2,
    HEADER_3,
    PROD_OFFSET,
    TraceRing,
    Words1,
    Words2,
    Words3,
    Words4,
)
from kernel.trace.turn import traced_subclasses, turn_ring
from kernel.x86.cpu import rdtsc
from kernel.x86.percpu import this_cpu

T = TypeVar("T")


@inline
def tracing(event: u32) -> bool:
    """Say whether an event is to be recorded. With a constant event this is one instruction."""
    subclass = truncate(u8, event >> abi.TRC_SUBCLS_SHIFT & 15)
    return traced_subclasses[ctz(event >> abi.TRC_CLS_SHIFT)] & subclass != 0


@inline
def begin(ring: Ptr[TraceRing], kind: type[T], header: u32) -> Ptr[T]:
    """Start a record: MOST_BYTES at `ring.at` are ours to write."""
    record = container_of(Ptr[u8](wrapping_add(ring.at, sizeof(T) - 1)), T, "end")
    record.header = header
    record.tsc = rdtsc()
    return record


@inline
def commit(ring: Ptr[TraceRing], end: Ptr[u8]) -> None:
    """End a record: show it to the reader, unless the slow path has to look at the ring."""
    if u64(end) > ring.limit:
        turn_ring(u64(end))
        return
    ring.at = u64(end)
    barrier()
    # t_buf.prod at the start of our buffer, which is never freed. The bit is set anyway: that it is
    # no null pointer need not be checked.
    volatile_store(
        Ptr[u32](ring.prod | PROD_OFFSET), truncate(u32, wrapping_sub(u64(end), ring.bias))
    )


@inline
def trace_1(event: u32, a: Tainted[u32]) -> None:
    """Record an event with one word."""
    if tracing(event):
        record_1(event | HEADER_1, a)


@inline
def trace_2(event: u32, a: Tainted[u32], b: Tainted[u32]) -> None:
    """Record an event with two words."""
    if tracing(event):
        record_2(event | HEADER_2, a, b)


@inline
def trace_3(event: u32, a: Tainted[u32], b: Tainted[u32], c: Tainted[u32]) -> None:
    """Record an event with three words."""
    if tracing(event):
        record_3(event | HEADER_3, a, b, c)


@cold
def record_1(header: u32, w0: Tainted[u32]) -> None:
    ring = ref(this_cpu().trace)
    record = begin(ring, Words1, header)
    record.words[0] = w0
    commit(ring, ref(record.end))


@cold
def record_2(header: u32, w0: Tainted[u32], w1: Tainted[u32]) -> None:
    ring = ref(this_cpu().trace)
    record = begin(ring, Words2, header)
    record.words[0] = w0
    record.words[1] = w1
    commit(ring, ref(record.end))


@cold
def record_3(header: u32, w0: Tainted[u32], w1: Tainted[u32], w2: Tainted[u32]) -> None:
    ring = ref(this_cpu().trace)
    record = begin(ring, Words3, header)
    record.words[0] = w0
    record.words[1] = w1
    record.words[2] = w2
    commit(ring, ref(record.end))


@cold
def record_4(
    header: u32, w0: Tainted[u32], w1: Tainted[u32], w2: Tainted[u32], w3: Tainted[u32]
) -> None:
    ring = ref(this_cpu().trace)
    record = begin(ring, Words4, header)
    record.words[0] = w0
    record.words[1] = w1
    record.words[2] = w2
    record.words[3] = w3
    commit(ring, ref(record.end))
