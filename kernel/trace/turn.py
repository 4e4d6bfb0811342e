"""What the fast path of tracing leaves out: a ring's end, its start, a reader that is too slow.

`turn_ring` is called when a record reached the point up to which nothing could go wrong. It parks
the ring, looks at the reader's progress, and opens the ring again up to the next such point: the
end of the buffer, the end of the free space, or the moment to tell domain 0 that it is half full.
While there is no room the ring stays parked and records are counted as lost; before the first one
that fits again comes TRC_LOST_RECORDS.

t_buf counts modulo twice the size of the data, so that a full ring differs from an empty one.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Tainted,
    barrier,
    bit,
    copy,
    newtype,
    noinline,
    ref,
    static,
    truncate,
    u8,
    u32,
    u64,
    volatile_load,
    volatile_store,
    wrapping_sub,
)

from kernel.state.trace_ring import (
    HEADER_2,
    HEADER_4,
    HEADER_BYTES,
    MOST_BYTES,
    TraceRecord,
    TraceRing,
)
from kernel.x86.cpu import rdtsc
from kernel.x86.percpu import Pcpu, this_cpu

LOST_BYTES = HEADER_BYTES + 16
NEVER = (1 << 32) - 1  # in `notified_at`: no place at which a reader can be

RingNumber = newtype("RingNumber", u32, none=(1 << 32) - 1)  # its processor's

traced_cpus = static(Tainted[u64], (1 << 64) - 1)  # the mask that the toolstack set
is_enabled = static(bool)
session = static(u32)  # counts the times that tracing was enabled
virq_is_due = static(bool)  # some ring is half full; kernel/evtchn/trace_virq.py tells domain 0
spoilt_ring = static(RingNumber | None, None)  # whose reader made no sense, for the console
spoilt_place = static(Tainted[u32])
# By class, the number of its bit: the subclasses that are traced now.
traced_subclasses = static(Array[u8, 16])


@noinline
def turn_ring(end: u64) -> None:
    """End this processor's record that begins at `ring.at`, and see where the next one can go."""
    cpu = this_cpu()
    ring = ref(cpu.trace)
    length = truncate(u32, end - ring.at)
    if not is_parked(ring):
        ring.at = end
        park(ring)
        length = 0
    if is_traced(cpu):
        reopen(cpu, ring, length)


def is_parked(ring: Ptr[TraceRing]) -> bool:
    """Say whether records go to the scratch space."""
    return ring.at == u64(ref(ring.scratch))


def park(ring: Ptr[TraceRing]) -> None:
    """Show the reader all of a ring, and let records go to the scratch space and then here."""
    if not is_parked(ring):
        show(ring, ring.at)
    ring.at = u64(ref(ring.scratch))
    ring.limit = 0


def is_traced(cpu: Ptr[Pcpu]) -> bool:
    """Say whether this processor shall record now."""
    return is_enabled and traced_cpus & bit(u64(cpu.id)) != 0


def show(ring: Ptr[TraceRing], end: u64) -> None:
    """Tell the reader of everything before `end`, a place in the open ring."""
    wrap = 2 * ring.size_bytes
    produced = truncate(u32, wrapping_sub(end, ring.bias))
    ring.produced = produced - wrap if produced >= wrap else produced
    barrier()
    volatile_store(Ptr[u32](ring.prod), ring.produced)


def reopen(cpu: Ptr[Pcpu], ring: Ptr[TraceRing], length: u32) -> None:
    """Open a parked ring if there is room, and move the record of `length` bytes (0: none) in the
    scratch space into it; else count that as lost.
    """
    is_new = ring.session != session
    if is_new:
        ring.session = session
        ring.nr_lost = 0
        ring.notified_at = NEVER
    used, is_sane = bytes_used(ring)
    if not is_sane:
        stop_for_bad_reader(cpu.id, reader_place(ring))
        return
    wanted = length + LOST_BYTES + MOST_BYTES
    to_end = ring.size_bytes - place_of(ring)
    filler = to_end if to_end < wanted else u32(0)
    if used + filler + wanted > ring.size_bytes:
        count_lost(ring, length)
        notify_reader(ring)
        return
    if filler != 0:
        fill(ring, filler)
    if is_new or ring.nr_lost != 0:
        add_preamble(cpu, ring, ring.scratch.tsc if length != 0 else rdtsc())
    if length != 0:
        add_scratch(ring, length)
    open_ring(ring)


def bytes_used(ring: Ptr[TraceRing]) -> tuple[u32, bool]:
    """Return how many bytes the reader has still to read, and whether its word makes any sense."""
    cons = reader_place(ring)
    size = ring.size_bytes
    if cons >= 2 * size or cons & 3 != 0:
        return 0, False
    used = ring.produced - cons if ring.produced >= cons else ring.produced + 2 * size - cons
    return used, used <= size


def reader_place(ring: Ptr[TraceRing]) -> Tainted[u32]:
    """Return what the reader says it has read: any number at all."""
    cons = Ptr[Tainted[u32]](ring.start - 8)  # in our buffer's first page
    return volatile_load(cons)


def place_of(ring: Ptr[TraceRing]) -> u32:
    """Return where in the data the next byte goes."""
    return ring.produced - ring.size_bytes if ring.produced >= ring.size_bytes else ring.produced


def count_lost(ring: Ptr[TraceRing], length: u32) -> None:
    """Count the record in the scratch space, if there is one, as lost."""
    if length == 0:
        return
    if ring.nr_lost == 0:
        ring.first_lost = ring.scratch.tsc
    if ring.nr_lost != ~u32(0):
        ring.nr_lost += 1


def add(ring: Ptr[TraceRing], size: u32) -> Ptr[TraceRecord]:
    """Return where to write `size` bytes of a parked ring that has room for them."""
    record = Ptr[TraceRecord](ring.start + u64(place_of(ring)))
    produced = ring.produced + size
    wrap = 2 * ring.size_bytes
    ring.produced = produced - wrap if produced >= wrap else produced
    return record


def fill(ring: Ptr[TraceRing], filler: u32) -> None:
    """Cover the end of the data, less than 3 records, with records that say so."""
    rest = filler
    while rest != 0:
        size = min(rest, 32)
        rest -= size
        record = add(ring, size)
        record.header = abi.TRC_TRACE_WRAP_BUFFER | (size // 4 - 1) << abi.TRACE_EXTRA_SHIFT


def add_preamble(cpu: Ptr[Pcpu], ring: Ptr[TraceRing], tsc: u64) -> None:
    """Say what runs on a processor, and how many of its records are missing if any are.

    `tsc` is the next record's: this one is not to be later.
    """
    domain: u32 = abi.DOMID_IDLE
    vcpu = cpu.id
    if cpu.current is not None and not cpu.is_lazy:
        domain = u32(cpu.current.domain.domain_id)
        vcpu = cpu.current.vcpu_id
    if ring.nr_lost != 0:
        add_lost(ring, tsc, domain | vcpu << 16)
        return
    record = add(ring, HEADER_BYTES + 8)
    record.header = abi.TRC_PROXEN_RUNNING | HEADER_2
    record.tsc = tsc
    record.words[0] = domain
    record.words[1] = vcpu


def add_lost(ring: Ptr[TraceRing], tsc: u64, running: u32) -> None:
    """Report the lost records, in a ring that has room for that."""
    record = add(ring, LOST_BYTES)
    record.header = abi.TRC_LOST_RECORDS | HEADER_4
    record.tsc = tsc
    record.words[0] = ring.nr_lost
    record.words[1] = running
    record.words[2] = truncate(u32, ring.first_lost)
    record.words[3] = truncate(u32, ring.first_lost >> 32)
    ring.nr_lost = 0


def report_lost(ring: Ptr[TraceRing]) -> None:
    """Report lost records of a parked ring if its reader has made room. Context: tracing is off."""
    used, is_sane = bytes_used(ring)
    if ring.nr_lost == 0 or not is_sane:
        return
    to_end = ring.size_bytes - place_of(ring)
    filler = to_end if to_end < LOST_BYTES else u32(0)
    if used + filler + LOST_BYTES <= ring.size_bytes:
        fill(ring, filler)
        add_lost(ring, rdtsc(), abi.DOMID_INVALID)
        volatile_store(Ptr[u32](ring.prod), ring.produced)


def add_scratch(ring: Ptr[TraceRing], length: u32) -> None:
    """Move the record in the scratch space into the ring."""
    copy(add(ring, length), ref(ring.scratch))


def open_ring(ring: Ptr[TraceRing]) -> None:
    """Let records go into the ring, up to the next point at which something may be to do."""
    used, _ = bytes_used(ring)
    half = ring.size_bytes // 2
    room = min(ring.size_bytes - min(used, ring.size_bytes), ring.size_bytes - place_of(ring))
    at = ring.start + u64(place_of(ring))
    limit = at + u64(room) - MOST_BYTES
    if used < half:
        limit = min(limit, at + u64(half - used))
    else:
        notify_reader(ring)
    barrier()
    volatile_store(Ptr[u32](ring.prod), ring.produced)
    ring.bias = wrapping_sub(at, u64(ring.produced))
    ring.at = at
    ring.limit = limit


def fill_table(mask: Tainted[u32]) -> None:
    """Let trace calls find the subclasses of each class in an event mask."""
    for i in range(u32(len(traced_subclasses))):
        is_on = mask >> (abi.TRC_CLS_SHIFT + i) & 1 != 0
        traced_subclasses[i] = truncate(u8, mask >> abi.TRC_SUBCLS_SHIFT & 15) if is_on else u8(0)


def stop_for_bad_reader(cpu: u32, place: Tainted[u32]) -> None:
    """Stop recording, because domain 0 has spoilt a ring."""
    global is_enabled, virq_is_due, spoilt_ring, spoilt_place
    is_enabled = False
    fill_table(0)
    spoilt_place = place
    spoilt_ring = RingNumber(cpu)
    virq_is_due = True
    this_cpu().reschedule = True


def notify_reader(ring: Ptr[TraceRing]) -> None:
    """Have domain 0 told that this ring is half full, once for each place of the reader."""
    global virq_is_due
    cons = reader_place(ring)
    if cons != ring.notified_at:
        ring.notified_at = cons
        virq_is_due = True
        this_cpu().reschedule = True
