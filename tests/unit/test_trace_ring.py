"""Trace rings: the compiled core writes, the toolstack's own reader reads, hypothesis shakes both.

Each record carries the next number. So whatever happens, the reader must see every number once and
in order, or be told exactly how many are missing.
"""

import ctypes

import pytest
import xen_codecs as abi
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit
from kpy.front.structs import offset_of, size_of
from xen.tbuf import HEADER_BYTES, Ring
from xentrace.events import kind_of
from xentrace.records import parse_records

from kernel.state.domain import Domain
from kernel.state.trace_ring import MOST_BYTES, TraceRing
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu

GUARD_BYTES = 64
GUARD = b"\xa5" * GUARD_BYTES
EVENT = abi.TRC_SCHED_WAKE
NOBODY = abi.DOMID_IDLE
VIEW = "kernel.trace.turn."


class View:
    """Memory of this process as a `Mapping` shows it."""

    def __init__(self, memory):
        self.view = memoryview(memory).cast("B")

    def close(self):
        self.view.release()


class Machine:
    """One processor whose ring lies between two guards, and its reader."""

    def __init__(self):
        self.now = 0
        self.program = jit.load(
            "kernel.trace.record",
            also=["kernel.trace.turn", "kernel.trace.wide"],
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.cpu.rdtsc": self.tick,
            },
        )
        self.cpu = self.program.new(Pcpu)

    def tick(self):
        self.now += 1
        return self.now

    def start(self, data_bytes):
        """Give the processor an empty ring of a size, and enable tracing of everything."""
        total = GUARD_BYTES + HEADER_BYTES + data_bytes + GUARD_BYTES
        self.memory = ctypes.create_string_buffer(total + 8)
        base = ctypes.addressof(self.memory)
        # t_buf.prod has an address whose bit 2 is set, as in a page
        self.before = -base % 8
        buffer = base + self.before + GUARD_BYTES
        self.inner = slice(self.before + GUARD_BYTES, self.before + total - GUARD_BYTES)
        ctypes.memmove(buffer - GUARD_BYTES, GUARD, GUARD_BYTES)
        ctypes.memmove(buffer + HEADER_BYTES + data_bytes, GUARD, GUARD_BYTES)
        ring = self.cpu.trace
        ctypes.memset(int(ring), 0, size_of(TraceRing))
        ring.start, ring.size_bytes, ring.prod = buffer + HEADER_BYTES, data_bytes, buffer + 4
        ring.at = int(ring) + offset_of(TraceRing, "scratch")
        self.program[VIEW + "is_enabled"].value = True
        self.program[VIEW + "session"].value += 1
        self.program[VIEW + "virq_is_due"].value = False
        self.program[VIEW + "fill_table"](abi.TRC_ALL)
        self.reader = Ring(0, View(memoryview(self.memory)[self.inner]))
        self.number, self.seen, self.lost = 0, [], 0

    def guards_are_whole(self):
        text = self.memory.raw
        return (
            text[self.before : self.inner.start] == GUARD
            and text[self.inner.stop : self.inner.stop + GUARD_BYTES] == GUARD
        )

    def record(self, nr_words):
        """Record an event with the next number, in one of the forms there are."""
        self.number += 1
        number, program = self.number, self.program
        header = abi.TRC_HD_CYCLE_FLAG | nr_words << abi.TRACE_EXTRA_SHIFT | EVENT
        match nr_words:
            case 1 | 3 | 4:
                program[f"kernel.trace.record.record_{nr_words}"](
                    header, number, *range(nr_words - 1)
                )
            case 2:
                program["kernel.trace.record.record_2"](header, number, 7)
            case 6:
                program["kernel.trace.wide.record_values_3"](header, number, 1, 2)

    def read(self):
        """Read the ring and take account of what it says."""
        data = self.reader.read()
        records = list(parse_records(0, data))
        for record in records:
            match record.event:
                case abi.TRC_LOST_RECORDS:
                    self.lost += record.words[0]
                    self.seen += [None] * record.words[0]
                case abi.TRC_PROXEN_RUNNING:
                    assert record.words == (NOBODY, 0) or self.cpu.current is not None
                case _:
                    assert record.event == EVENT
                    self.seen.append(record.words[0])
        return records


@pytest.fixture(scope="module")
def machine():
    return Machine()


def in_order(machine):
    """Say whether all that was seen is 1, 2, 3 …, with gaps exactly where they were reported."""
    return all(seen in (None, number) for number, seen in enumerate(machine.seen, 1))


# A ring of a page always has room for a record once it is empty. So have these: the end into which
# a record with its report of lost ones does not fit, and the same again, are less than this.
LEAST_WORDS = 56
sizes = st.integers(LEAST_WORDS, 400).map(lambda words: words * 4)
steps = st.lists(
    st.one_of(
        st.sampled_from([1, 2, 3, 4, 6]).map(lambda n: ("record", n)),
        st.tuples(st.just("burst"), st.integers(1, 200)),
        st.just(("read", 0)),
    ),
    max_size=60,
)


@settings(max_examples=300, deadline=None)
@given(sizes, steps)
def test_every_record_is_seen_once_or_reported_lost(machine, data_bytes, steps):
    machine.start(data_bytes)
    for what, number in steps:
        match what:
            case "record":
                machine.record(number)
            case "burst":
                for i in range(number):
                    machine.record((1, 2, 3, 4, 6)[i % 5])
            case "read":
                machine.read()
        assert machine.guards_are_whole()
    machine.read()
    machine.record(1)  # there is room now: it brings the report of what was lost
    machine.read()
    assert in_order(machine)
    assert len(machine.seen) == machine.number


@settings(max_examples=100, deadline=None)
@given(st.integers(0, (1 << 32) - 1), sizes)
def test_a_reader_that_lies_harms_nobody(machine, cons, data_bytes):
    machine.start(data_bytes)
    for round_ in range(5):
        machine.reader.words[0] = cons
        machine.reader.words[1] = cons ^ round_  # prod is ours: what a reader writes is not read
        for _ in range(40):
            machine.record(6)
        assert machine.guards_are_whole()


def test_nonsense_stops_the_trace_and_is_told(machine):
    machine.start(400)
    machine.record(1)
    machine.reader.words[0] = 801
    for _ in range(20):
        machine.record(6)
    assert not machine.program[VIEW + "is_enabled"].value
    assert machine.program[VIEW + "spoilt_ring"].value == 0
    assert machine.program[VIEW + "spoilt_place"].value == 801
    assert not any(machine.program[VIEW + "traced_subclasses"])
    machine.program[VIEW + "spoilt_ring"].value = (1 << 32) - 1


def test_the_reader_is_told_once_that_the_ring_is_half_full(machine):
    machine.start(1000)
    machine.cpu.reschedule = False
    while not machine.program[VIEW + "virq_is_due"].value:
        machine.record(1)
    assert machine.cpu.reschedule
    assert 500 <= machine.reader.words[1] < 500 + MOST_BYTES
    machine.program[VIEW + "virq_is_due"].value = False
    for _ in range(100):
        machine.record(1)
    assert not machine.program[VIEW + "virq_is_due"].value
    machine.read()
    for _ in range(60):
        machine.record(1)
    assert machine.program[VIEW + "virq_is_due"].value


def test_a_new_ring_says_first_what_runs(machine):
    machine.start(400)
    domain = machine.program.new(Domain, domain_id=3)
    machine.cpu.current = machine.program.new(Vcpu, domain=domain, vcpu_id=1)
    try:
        machine.record(2)
        first, second = machine.read()
    finally:
        machine.cpu.current = None
    assert (first.event, first.words) == (abi.TRC_PROXEN_RUNNING, (3, 1))
    assert first.tsc <= second.tsc


@pytest.mark.parametrize(
    ("mask", "event", "is_traced"),
    [
        (abi.TRC_ALL, abi.TRC_PV_TRAP, True),
        (0, abi.TRC_PV_TRAP, False),
        (abi.TRC_PV_ENTRY, abi.TRC_PV_TRAP, True),
        (abi.TRC_PV_SUBCALL, abi.TRC_PV_TRAP, False),
        (abi.TRC_SCHED, abi.TRC_PV_TRAP, False),
        (abi.TRC_SCHED_MIN, abi.TRC_SCHED_RUNSTATE_CHANGE, True),
        (abi.TRC_SCHED_MIN, abi.TRC_SCHED_SWITCH, False),
        (abi.TRC_MEM, abi.TRC_PROXEN_PAGE_TYPE, True),
        (abi.TRC_PROXEN_EVTCHN, abi.TRC_PROXEN_EVTCHN_SEND, True),
    ],
)
def test_the_mask_selects_by_class_and_subclass(machine, mask, event, is_traced):
    machine.start(400)
    machine.program[VIEW + "fill_table"](mask)
    assert machine.program["kernel.trace.record.tracing"](event) == is_traced


def test_a_guest_cannot_forge_the_layout_of_its_hypercalls(machine):
    """The high bits of the record's first word say which arguments follow."""
    machine.start(400)
    wild = 0xFFFFFFFF_FFFF0025
    machine.program["kernel.trace.wide.record_hypercall"](abi.TRC_PV_HYPERCALL_V2, wild, 1, 2, 3)
    machine.program["kernel.trace.wide.record_return"](abi.TRC_PROXEN_HYPERCALL_RETURN, wild, 0)
    _, begin, end = parse_records(0, machine.reader.read())
    assert kind_of(begin.event).arguments(begin.words) == {"op": 0xF0025, "a0": 1, "a1": 2, "a2": 3}
    assert kind_of(end.event).arguments(end.words)["op"] == 0xF0025


def test_a_record_that_the_end_overtook_is_dropped(machine):
    """Whoever saw that the event is traced writes it yet, and nobody opens the ring again."""
    machine.start(400)
    machine.program[VIEW + "is_enabled"].value = False
    machine.record(1)
    assert machine.read() == []
    assert machine.program[VIEW + "is_parked"](machine.cpu.trace)
