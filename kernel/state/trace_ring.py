"""The layout of trace rings: a record, and what each processor knows of its own ring.

Nobody but its processor writes into a ring or moves `at`; the reader in domain 0 moves
`t_buf.cons` and is not believed. A ring is either *open*, `at` pointing into it, or *parked*: `at`
points to `scratch` and `limit` is 0, so every record goes there first and the slow path
(kernel/trace/turn.py) decides what becomes of it. So the fast path needs no question but one.

Invariant: MOST_BYTES may always be written at `at`.
"""

import abi
from kpy import Array, Tainted, build_time, sizeof, struct, u8, u32, u64


@build_time
def record_type(name, **fields):
    """Return the type of a record with a time stamp and `fields`.

    `end` is the first byte behind it.
    """
    names = {"header": u32, "tsc": u64, **fields, "end": u8}
    return struct(packed=True)(type(name, (), {"__annotations__": names}))


Word, Value = Tainted[u32], Tainted[u64]
Words1, Words2, Words3, Words4 = (
    record_type(f"Words{n}", words=Array[Word, n]) for n in (1, 2, 3, 4)
)
TraceRecord = record_type("TraceRecord", words=Array[u32, abi.TRACE_EXTRA_MAX])  # the longest
Wide1 = record_type("Wide1", value=Value)
Wide1Word = record_type("Wide1Word", value=Value, word=Word)
Wide3 = record_type("Wide3", values=Array[Value, 3])
PageFault = record_type("PageFault", rip=Value, address=u64, error_code=Word)
Hypercall = record_type("Hypercall", number=Word, args=Array[Value, 3])
Return = record_type("Return", number=Word, result=Value)

# What the header of a record with a time stamp and n words says besides its event.
HEADER_0, HEADER_1, HEADER_2, HEADER_3, HEADER_4, HEADER_5, HEADER_6, HEADER_7 = (
    abi.TRC_HD_CYCLE_FLAG | n << abi.TRACE_EXTRA_SHIFT for n in range(abi.TRACE_EXTRA_MAX + 1)
)
MOST_BYTES = sizeof(TraceRecord) - 1
PROD_OFFSET = 4  # of t_buf.prod in a buffer
HEADER_BYTES = 12  # of a record with time stamp and without words

assert MOST_BYTES == sizeof(Hypercall) - 1 == 40


@struct
class TraceRing:
    """A processor's ring; part of its `Pcpu`."""

    at: u64  # where the next record goes
    limit: u64  # a record that ends beyond needs the slow path
    prod: u64  # address of t_buf.prod
    bias: u64  # what t_buf.prod says is `at - bias`
    # The rest is the slow path's.
    start: u64  # of the data, behind the t_buf
    size_bytes: u32  # of the data; 0: the processor has no ring
    produced: u32  # t_buf.prod as we know it, while parked
    session: u32  # of the trace that it was last open for
    notified_at: Tainted[u32]  # t_buf.cons when domain 0 was last told that the ring is half full
    nr_lost: u32
    first_lost: u64  # TSC of the first lost record
    scratch: TraceRecord
