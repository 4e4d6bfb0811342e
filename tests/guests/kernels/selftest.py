"""What libos promises, tried in a real guest: memory, heap, traps, events, time, threads."""

import abi
from kpy import Ptr, asm, export, load, ref, static, store, struct, u64

from libos.console import say
from libos.event import (
    alloc_unbound,
    close_port,
    disable_events,
    enable_events,
    event_count,
    notify,
    unmask,
)
from libos.heap import allocate, delete, new, release
from libos.hypercall import event_channel_op
from libos.layout import PAGE_SIZE, VIRT_BASE
from libos.pages import alloc_pages, free_pages, nr_free
from libos.probe import probe_load, probe_store
from libos.start_info import boot
from libos.thread import FOREVER, sleep_ns, start_thread, wait_event, yield_now
from libos.time import NS_PER_SECOND, system_time_ns, wall_clock_ns
from tests.guests.kernels.report import check, expect, verdict

NS_PER_MS = 1_000_000
YEAR_2020_S = 1_577_836_800
PATTERN = 0x5EED_0000_0000_0001

steps = static(u64)
probed = static(u64)


@struct
class Pair:
    first: u64
    second: u64


@asm("int3", "~{memory}", sideeffect=True)
def breakpoint() -> None: ...


def test_memory() -> None:
    before = nr_free
    page = alloc_pages(3)
    check(b"pages are zeroed", load(Ptr[u64](page + 2 * PAGE_SIZE)) == 0)
    store(Ptr[u64](page + 3 * PAGE_SIZE - 8), PATTERN)
    check(b"pages keep what is written", load(Ptr[u64](page + 3 * PAGE_SIZE - 8)) == PATTERN)
    free_pages(page, 3)
    check(b"pages come back", nr_free == before)
    check(b"much memory is mapped", nr_free > 2000)


def test_heap() -> None:
    pair = new(Pair)
    pair.second = PATTERN
    check(b"new is zeroed", pair.first == 0)
    delete(pair)
    again = new(Pair)
    check(b"a block is used again", u64(again) == u64(pair) and again.second == 0)
    small, large = allocate(24), allocate(5000)
    check(b"blocks are aligned", small % 32 == 0 and large % PAGE_SIZE == 0)
    release(small, 24)
    release(large, 5000)
    delete(again)


def test_protection() -> None:
    """What the hypervisor keeps from a guest shows as a fault."""
    check(b"own memory can be read", probe_load(VIRT_BASE + 0x10_0000, ref(probed)))
    check(b"page 0 of the address space cannot", not probe_load(8, ref(probed)))
    check(b"the m2p table can be read", probe_load(abi.MACH2PHYS_VIRT_START + 8, ref(probed)))
    check(b"and not be written", not probe_store(abi.MACH2PHYS_VIRT_START + 8, 0))
    check(b"a page table can be read", probe_load(boot().pt_base, ref(probed)))
    check(b"the hypervisor is out of sight", not probe_load(0xFFFF_82D0_4020_0000, ref(probed)))
    check(b"a non-canonical address faults", not probe_load(0x8000_0000_0000_0000, ref(probed)))


def test_events() -> None:
    bind = abi.evtchn_bind_ipi(vcpu=0)
    expect(b"bind_ipi", event_channel_op(abi.EVTCHNOP_bind_ipi, ref(bind)), 0)
    unmask(bind.port)
    seen = event_count(bind.port)
    notify(bind.port)
    check(b"an event is delivered at once", event_count(bind.port) == seen + 1)
    disable_events()
    notify(bind.port)
    check(b"and held back when events are off", event_count(bind.port) == seen + 1)
    enable_events()
    check(b"until they are on again", event_count(bind.port) == seen + 2)
    close_port(bind.port)
    port = alloc_unbound(abi.DOMID_SELF)
    seen = event_count(port)
    notify(port)
    check(b"an unbound port signals nobody", event_count(port) == seen)
    close_port(port)


def test_time() -> None:
    start = system_time_ns()
    for _ in range(1000):
        now = system_time_ns()
        check(b"time does not run backwards", now >= start)
        start = now
    sleep_ns(20 * NS_PER_MS)
    slept = system_time_ns() - start
    check(b"sleep lasts long enough", slept >= 20 * NS_PER_MS)
    check(b"and not for ages", slept < 60 * NS_PER_SECOND)
    check(b"the wall clock is set", wall_clock_ns() > YEAR_2020_S * NS_PER_SECOND)
    port = alloc_unbound(abi.DOMID_SELF)
    deadline = system_time_ns() + 5 * NS_PER_MS
    check(b"a wait ends in time", not wait_event(port, event_count(port), deadline))
    close_port(port)


def ten_steps() -> None:
    global steps
    for _ in range(10):
        steps += 1
        yield_now()


def test_threads() -> None:
    global steps
    start_thread(ten_steps)
    start_thread(ten_steps)
    check(b"a thread waits for its turn", steps == 0)
    yield_now()
    check(b"threads take turns", steps == 2)
    while steps < 20:
        sleep_ns(NS_PER_MS)
    start_thread(ten_steps)
    while steps < 30:
        yield_now()
    check(b"an ended thread's place is used again", steps == 30)


@export
def main() -> u64:
    check(b"forever is later than now", system_time_ns() < FOREVER)
    say("selftest: memory")
    test_memory()
    test_heap()
    test_protection()
    say("selftest: traps")
    breakpoint()
    say("selftest: events")
    test_events()
    say("selftest: time")
    test_time()
    say("selftest: threads")
    test_threads()
    return verdict()
