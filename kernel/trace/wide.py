"""Tracing of events that carry addresses and other 64-bit values; see `kernel.trace.record`."""

import abi
from kpy import Tainted, cold, inline, ref, truncate, u32, u64

from kernel.state.trace_ring import (
    HEADER_2,
    HEADER_3,
    HEADER_5,
    HEADER_6,
    HEADER_7,
    Hypercall,
    PageFault,
    Return,
    Wide1,
    Wide1Word,
    Wide3,
)
from kernel.trace.record import begin, commit, tracing
from kernel.x86.percpu import this_cpu

# In the first word of TRC_PV_HYPERCALL_V2: arguments 0 to 2 follow, 64 bits each.
THREE_WIDE_ARGS = 0b101010 << 20
NUMBER_MASK = ~abi.TRC_PV_HYPERCALL_V2_ARG_MASK  # what a guest calls may be any number


@inline
def trace_value(event: u32, value: Tainted[u64]) -> None:
    """Record an event with one 64-bit value."""
    if tracing(event):
        record_value(event | HEADER_2, value)


@inline
def trace_value_1(event: u32, value: Tainted[u64], word: Tainted[u32]) -> None:
    """Record an event with a 64-bit value and a word."""
    if tracing(event):
        record_value_1(event | HEADER_3, value, word)


@inline
def trace_values_3(
    event: u32, first: Tainted[u64], second: Tainted[u64], third: Tainted[u64]
) -> None:
    """Record an event with three 64-bit values."""
    if tracing(event):
        record_values_3(event | HEADER_6, first, second, third)


@cold
def record_value(header: u32, value: Tainted[u64]) -> None:
    ring = ref(this_cpu().trace)
    record = begin(ring, Wide1, header)
    record.value = value
    commit(ring, ref(record.end))


@cold
def record_value_1(header: u32, value: Tainted[u64], word: Tainted[u32]) -> None:
    ring = ref(this_cpu().trace)
    record = begin(ring, Wide1Word, header)
    record.value = value
    record.word = word
    commit(ring, ref(record.end))


@cold
def record_values_3(
    header: u32, first: Tainted[u64], second: Tainted[u64], third: Tainted[u64]
) -> None:
    ring = ref(this_cpu().trace)
    record = begin(ring, Wide3, header)
    record.values[0] = first
    record.values[1] = second
    record.values[2] = third
    commit(ring, ref(record.end))


@inline
def record_page_fault(rip: Tainted[u64], address: u64, error_code: Tainted[u32]) -> None:
    """Record TRC_PV_PAGE_FAULT."""
    ring = ref(this_cpu().trace)
    record = begin(ring, PageFault, abi.TRC_PV_PAGE_FAULT | abi.TRC_64_FLAG | HEADER_5)
    record.rip = rip
    record.address = address
    record.error_code = error_code
    commit(ring, ref(record.end))


@inline
def record_hypercall(
    event: u32, number: Tainted[u64], a: Tainted[u64], b: Tainted[u64], c: Tainted[u64]
) -> None:
    """Record that a hypercall begins; `event` says whether in a multicall."""
    ring = ref(this_cpu().trace)
    record = begin(ring, Hypercall, event | HEADER_7)
    record.number = truncate(u32, number) & NUMBER_MASK | THREE_WIDE_ARGS
    record.args[0] = a
    record.args[1] = b
    record.args[2] = c
    commit(ring, ref(record.end))


@inline
def record_return(event: u32, number: Tainted[u64], result: Tainted[u64]) -> None:
    """Record that a hypercall has ended."""
    ring = ref(this_cpu().trace)
    record = begin(ring, Return, event | HEADER_3)
    record.number = truncate(u32, number) & NUMBER_MASK
    record.result = result
    commit(ring, ref(record.end))
