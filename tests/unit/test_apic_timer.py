"""The processor's timer: that every deadline leads to an interrupt."""

import pytest
from kpy import jit

NOW = 5_000_000_000
TIMER_KHZ = 1000  # one count a microsecond
MSR_TSC_DEADLINE = 0x6E0


@pytest.fixture
def apic():
    """The module, and what it has written: `counts` to the APIC, `deadlines` to the MSR."""
    counts, deadlines = [], []
    program = jit.load(
        "kernel.x86.apic",
        {
            "kernel.x86.tsc.system_time_ns": lambda: NOW,
            "kernel.x86.tsc.ns_to_tsc": lambda ns: ns,
            "kernel.x86.apic.apic_write": lambda _register, value: counts.append(value),
            "kernel.x86.cpu.wrmsr": lambda msr, value: deadlines.append((msr, value)),
        },
    )
    program.timer_khz.value = TIMER_KHZ
    program.counts, program.deadlines = counts, deadlines
    return program


@pytest.mark.parametrize(
    ("deadline", "count"),
    [(0, 1), (1, 1), (NOW - 1, 1), (NOW, 1), (NOW + 5_000_000, 5000), (1 << 63, 2_000_000)],
)
def test_every_deadline_leads_to_an_interrupt(apic, deadline, count):
    """A time that has passed is soon, the beginning of time too: guests choose it (timeout 0)."""
    apic.apic_set_timer_deadline(deadline)
    assert (apic.counts, apic.deadlines) == ([count], [])


@pytest.mark.parametrize("deadline", [0, NOW - 1, NOW])
def test_so_it_does_by_the_tsc(apic, deadline):
    apic["kernel.x86.features.has_tsc_deadline"].value = True
    apic.apic_set_timer_deadline(deadline)
    assert apic.deadlines == [(MSR_TSC_DEADLINE, NOW)] and apic.counts == []
