"""Traces outside of the core: the file format, who ran where, the picture, text and sums."""

import io
import struct

import pytest
import xen_codecs as abi
from hypothesis import given, settings
from hypothesis import strategies as st
from xentrace import chrome, events, names, text
from xentrace.records import BadTrace, Record, Spool
from xentrace.state import Clock, Filter, Names, Vcpu, follow
from xentrace.summary import Summary
from xm.client import XendError
from xm.trace import domain_id, events_wanted

from tests.toolstack import trace_format
from tests.toolstack.xend_in_process import with_xend

KHZ = 1_000_000  # one tick is one ns
IDLE = abi.DOMID_IDLE
ALL = Filter(events.CATEGORIES)
SCHED_OP = abi.__HYPERVISOR_sched_op
NAMES = Names({"0": "Domain-0", "3": "guest"})


def call(tsc, number, a0=0, cpu=0):
    flags = 0b101010 << 20
    return Record(tsc, cpu, abi.TRC_PV_HYPERCALL_V2, (number | flags, a0, 0, 2, 0, 3, 0))


def done(tsc, number, result=0, cpu=0):
    words = (number, result & 0xFFFFFFFF, result >> 32 & 0xFFFFFFFF)
    return Record(tsc, cpu, abi.TRC_PROXEN_HYPERCALL_RETURN, words)


def switch(tsc, before, after, cpu=0):
    return Record(tsc, cpu, abi.TRC_SCHED_SWITCH, (*before, *after))


def runstate(tsc, domain, vcpu, before, after, cpu=0):
    states = [names.RUNSTATES.index(state) for state in (before, after)]
    event = abi.TRC_SCHED_RUNSTATE_CHANGE | states[0] << 8 | states[1] << 4
    return Record(tsc, cpu, event, (vcpu | domain << 16,))


LIFE = [
    Record(1000, 0, abi.TRC_PROXEN_RUNNING, (0, 0)),
    Record(2000, 0, abi.TRC_PROXEN_EVTCHN_PENDING, (3, 1, 5)),
    runstate(2100, 3, 1, "blocked", "runnable"),
    runstate(3000, 3, 1, "runnable", "running"),
    runstate(3010, 0, 0, "running", "blocked"),
    switch(3020, (0, 0), (3, 1)),
    Record(3100, 0, abi.TRC_PROXEN_EVTCHN_UPCALL, (3, 1)),
    call(4000, SCHED_OP, abi.SCHEDOP_block),
    done(4500, SCHED_OP),
    Record(5000, 0, abi.TRC_PV_PAGE_FAULT | abi.TRC_64_FLAG, (0x10, 0, 0x20, 0, 4)),
    Record(5600, 0, abi.TRC_PROXEN_TRAP_RETURN, (14,)),
    runstate(6000, 3, 1, "running", "blocked"),
    switch(6010, (3, 1), (IDLE, 0)),
    Record(7000, 0, abi.TRC_PROXEN_INTERRUPT, (0xFA, 10, 30)),
]


def drawn(records, chosen=ALL):
    out = io.StringIO()
    writer = chrome.ChromeWriter(out, NAMES)
    writer.write(follow(records, KHZ), chosen)
    return trace_format.check(out.getvalue())


def slices(trace, pid):
    """Return (name, begin, end) in us of all slices of a group."""
    found, open_ = [], {}
    for event in trace["traceEvents"]:
        if event["pid"] == pid and event["ph"] == "B":
            open_.setdefault(event["tid"], []).append(event)
        elif event["pid"] == pid and event["ph"] == "E":
            begun = open_[event["tid"]].pop()
            found.append((event["name"], begun["ts"], event["ts"]))
    return found


def test_a_life_as_a_picture():
    trace = drawn(LIFE)
    assert slices(trace, chrome.CPU_PID) == [
        ("Domain-0 vcpu 0", 0, 2.02),
        ("guest vcpu 1", 2.02, 5.01),
    ]
    assert slices(trace, chrome.FIRST_DOMAIN_PID + 3) == [
        ("runnable", 1.1, 2.0),
        ("sched_op.block", 3.0, 3.5),
        ("#PF", 4.0, 4.6),
        ("running", 2.0, 5.0),
        ("blocked", 5.0, 6.0),
    ]
    phases = [event["ph"] for event in trace["traceEvents"]]
    assert phases.count("s") == phases.count("f") == 1
    groups = {e["args"]["name"] for e in trace["traceEvents"] if e["name"] == "process_name"}
    assert groups == {"physical CPUs", "Domain-0", "guest"}


def test_a_life_as_text():
    out = io.StringIO()
    text.write(out, follow(LIFE, KHZ), ALL, NAMES)
    lines = out.getvalue().splitlines()
    assert len(lines) == len(LIFE)
    assert lines[2] == "    0.000001100 cpu0  d0v0    runstate d3v1 blocked -> runnable"
    assert lines[7] == "    0.000003000 cpu0  d3v1    hypercall sched_op.block(0x1, 0x2, 0x3)"
    assert lines[8] == "    0.000003500 cpu0  d3v1    hypercall sched_op = 0"
    assert lines[9].endswith("d3v1    trap #PF error_code=0x4 rip=0x10 address=0x20")
    assert lines[13].split()[2:4] == ["idle", "interrupt"]


def test_a_life_summed_up():
    summary, out = Summary(), io.StringIO()
    summary.count(follow(LIFE, KHZ), ALL)
    summary.write(out, NAMES)
    assert summary.calls[3, "hypercall", "sched_op.block"].total_ns == 500
    assert summary.ran[Vcpu(3, 1)].total_ns == 2990
    assert "hypercall: sched_op.block" in out.getvalue() and "LOST" not in out.getvalue()


def test_one_domain_only():
    out = io.StringIO()
    text.write(out, follow(LIFE, KHZ), Filter(["hypercall"], domain=3), NAMES)
    assert len(out.getvalue().splitlines()) == 2
    trace = drawn(LIFE, Filter(["hypercall"], domain=0))
    assert not slices(trace, chrome.FIRST_DOMAIN_PID + 3)


def test_lost_records_are_never_silent():
    gap = Record(4200, 0, abi.TRC_LOST_RECORDS, (7, 3 | 1 << 16, 4100, 0))
    records = [*LIFE[:8], gap, *LIFE[9:]]
    trace = drawn(records, Filter(["sched"], domain=9))
    assert trace["otherData"]["lost_records"] == 7
    assert any(event["name"] == "7 records lost" for event in trace["traceEvents"])
    summary, out = Summary(), io.StringIO()
    summary.count(follow(records, KHZ), ALL)
    summary.write(out, NAMES)
    assert "7 LOST" in out.getvalue()
    assert (3, "hypercall", "sched_op.block") not in summary.calls


EVENTS = [*events.KINDS, abi.TRC_SCHED_RUNSTATE_CHANGE | 0x210, 0x0800F123]
small = st.integers(0, 3) | st.sampled_from([IDLE, abi.DOMID_INVALID, 29, 13])
random_records = st.lists(
    st.tuples(
        st.integers(0, 50),
        st.integers(0, 2),
        st.sampled_from(EVENTS),
        st.lists(small | st.integers(0, (1 << 32) - 1), min_size=7, max_size=7),
    ),
    max_size=80,
)


@settings(max_examples=300, deadline=None)
@given(random_records, st.sampled_from([None, 0, 1]), st.integers(0, 7))
def test_any_records_give_a_valid_trace(drawn_records, domain, nr_words):
    tsc, records = 0, []
    for step, cpu, event, words in drawn_records:
        tsc += step
        cut = nr_words if event not in events.KINDS else 7
        records.append(Record(tsc, cpu, event, tuple(words[:cut])))
    chosen = Filter(events.CATEGORIES, domain)
    drawn(records, chosen)
    text.write(io.StringIO(), follow(records, KHZ), chosen, NAMES)
    summary = Summary()
    summary.count(follow(records, KHZ), chosen)
    summary.write(io.StringIO(), NAMES)


def encoded(record):
    header = record.event | len(record.words) << abi.TRACE_EXTRA_SHIFT | abi.TRC_HD_CYCLE_FLAG
    return struct.pack(f"<IQ{len(record.words)}I", header, record.tsc, *record.words)


@given(st.lists(st.integers(1, 90), min_size=1, max_size=30), st.data())
def test_a_trace_file_may_come_in_any_pieces(sizes, data):
    """Two processors' blocks, with filler records between, cut anywhere; read in order of time."""
    wrap = struct.pack("<II", abi.TRC_TRACE_WRAP_BUFFER | 1 << abi.TRACE_EXTRA_SHIFT, 0)
    file, expected = b"", []
    for tsc, size in enumerate(sizes):
        record = Record(tsc, size & 1, abi.TRC_SCHED_WAKE, tuple(range(size % 8)))
        expected.append(record)
        block = encoded(record) + wrap * (size % 3)
        header = abi.TRC_TRACE_CPU_CHANGE | 2 << abi.TRACE_EXTRA_SHIFT
        file += struct.pack("<III", header, record.cpu, len(block)) + block
    spool = Spool()
    while file:
        cut = data.draw(st.integers(1, len(file)))
        spool.feed(file[:cut])
        file = file[cut:]
    assert list(spool) == expected
    spool.close()


def test_what_is_no_trace_file_is_refused():
    with pytest.raises(BadTrace):
        Spool().feed(b"not a trace file")


def test_names():
    assert names.hypercall_name(SCHED_OP, abi.SCHEDOP_yield) == "sched_op.yield"
    assert names.hypercall_name(SCHED_OP, 1 << 20) == "sched_op.1048576"
    goes_on = abi.XENMEM_populate_physmap | 11 << 6
    assert names.hypercall_name(abi.__HYPERVISOR_memory_op, goes_on) == "memory_op.populate_physmap"
    assert names.hypercall_name(60) == "hypercall_60"
    assert names.result_text((1 << 64) - 22) == "-EINVAL"
    assert names.result_text(5) == "5" and names.result_text(1 << 40) == "0x10000000000"
    assert names.exception_name(13) == "#GP" and names.exception_name(0x80) == "int 0x80"


def test_the_clock_scales_and_begins_at_0():
    clock = Clock(2_000_000)
    assert [clock.ns(tsc) for tsc in (1000, 3000, 1 << 60)] == [0, 1000, ((1 << 60) - 1000) // 2]


def test_what_the_user_names_wrongly():
    with pytest.raises(XendError, match="no events 'hypercal'"):
        events_wanted("trap,hypercal")
    with pytest.raises(XendError, match="no domain 'x'"):
        domain_id(NAMES, "x")
    assert domain_id(NAMES, "guest") == 3 and domain_id(NAMES, "7") == 7


@with_xend
async def test_xend_refuses_what_it_cannot_trace(xend):
    for key, value in (("pages", 0), ("pages", 1 << 20), ("seconds", -1), ("events", "all")):
        assert f"'{key}' must be" in await xend.refused(400, "POST", "/trace", {key: value})
    assert "events, pages, seconds" in await xend.refused(400, "POST", "/trace", {"size": 1})
    assert (await xend.call("GET", "/trace"))["running"] is False
    assert (await xend.call("DELETE", "/trace"))["bytes"] == 0
