"""When the core reports: how many crashed guests, and which processor counts as stuck."""

import pytest
from kpy import jit

from kernel.panic.cpu_watchdog import PERIOD_NS, STALE_LOOKS
from kernel.panic.crash_report import BURST, REFILL_NS
from kernel.state.domain import Domain
from kernel.x86.percpu import Pcpu

printed = []


@pytest.fixture
def reports():
    """kernel.panic.crash_report, whose console collects lines in `printed`."""
    printed.clear()
    program = jit.load(
        "kernel.panic.crash_report",
        replace={
            "kernel.x86.percpu.this_cpu": lambda: program.cpu,
            "kernel.console.console.write_str": lambda text: printed.append(bytes(text)),
            "kernel.console.console.write_int": lambda value, *_: printed.append(value),
            "kernel.console.console.end_line": lambda: None,
            "kernel.x86.ipi.serve_mailbox": lambda: None,
            "kernel.x86.tsc.system_time_ns": lambda: 0,
        },
    )
    program.cpu = program.new(Pcpu, id=0)
    program.allowance.used = program.allowance.since_ns = program.allowance.nr_left_out = 0
    return program


def test_a_burst_of_crashes_is_reported_then_one_now_and_then(reports):
    now = 1000 * REFILL_NS
    assert [reports.may_report(now) for _ in range(BURST + 5)] == [True] * BURST + [False] * 5
    assert not reports.may_report(now + REFILL_NS - 1)
    assert not printed
    assert reports.may_report(now + REFILL_NS)
    assert printed[0] == 6 and b"left out" in printed[1]
    assert not reports.may_report(now + REFILL_NS)


def test_a_long_silence_saves_up_no_more_than_a_burst(reports):
    assert reports.may_report(5)
    allowed = [reports.may_report(10_000 * REFILL_NS) for _ in range(BURST + 1)]
    assert allowed == [True] * BURST + [False]


def test_the_crash_of_domain_0_is_always_reported(reports):
    program = reports
    machine_owner, guest = program.new(Domain, is_privileged=True), program.new(Domain, domain_id=1)
    for domain in (*[guest] * (BURST + 3), machine_owner):
        program.report_crash(domain, b"for a test")
    assert printed.count(b"for a test") == BURST + 1


@pytest.fixture
def watchdog():
    """kernel.panic.cpu_watchdog on processor 0 of two."""
    program = jit.load(
        "kernel.panic.cpu_watchdog",
        replace={
            "kernel.x86.percpu.this_cpu": lambda: program.cpus[0],
            "kernel.x86.percpu.cpu_by_id": lambda number: program.cpus[number],
            "kernel.x86.percpu.online_cpus": lambda: 3,
            "kernel.x86.tsc.system_time_ns": lambda: program.now,
            "kernel.sched.timer_heap.set_timer": lambda timer, due: program.due.append(due),
            "kernel.x86.ipi.ipi_kick": lambda cpu, work: program.kicked.append(cpu),
            "kernel.panic.cpu_state.report_from_here": lambda: program.reports.append(program.now),
            "kernel.console.console.write_str": lambda text: program.lockless.append(
                program.cpus[0].in_nmi
            ),
            "kernel.console.console.write_int": lambda *_: None,
            "kernel.console.console.end_line": lambda: None,
        },
    )
    program.cpus = [program.new(Pcpu, id=number) for number in range(2)]
    program.now, program.due, program.kicked, program.reports = 0, [], [], []
    program.lockless = []
    program["kernel.x86.percpu.nr_cpus"].value = 2
    return program


def look(watchdog, takes_interrupts):
    watchdog.now += PERIOD_NS
    if takes_interrupts:
        watchdog.cpus[1].nr_ipis += 1
    watchdog.look(watchdog.watches[0].timer)
    assert watchdog.due[-1] == watchdog.now + PERIOD_NS and watchdog.kicked[-1] == 1


def test_a_processor_that_answers_is_left_in_peace(watchdog):
    for _ in range(10):
        look(watchdog, True)
    for _ in range(STALE_LOOKS - 1):
        look(watchdog, False)
    look(watchdog, True)
    for _ in range(STALE_LOOKS - 1):
        look(watchdog, False)
    assert watchdog.reports == []


def test_one_that_hangs_is_reported_once(watchdog):
    look(watchdog, True)
    for _ in range(STALE_LOOKS + 5):
        look(watchdog, False)
    assert watchdog.reports == [(1 + STALE_LOOKS) * PERIOD_NS]
    assert watchdog.lockless and all(watchdog.lockless), "the one that hangs may hold the lock"
    assert not watchdog.cpus[0].in_nmi
    look(watchdog, True)
    for _ in range(STALE_LOOKS):
        look(watchdog, False)
    assert len(watchdog.reports) == 2
