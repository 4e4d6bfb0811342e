"""Time as a guest reads it, and its timers."""

import abi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

from kernel.sched.time import MAX_DELTA_NS, NS_PER_MS, NS_PER_S
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import Pcpu

NOW = 5 * NS_PER_S


class Machine:
    """One vCPU; timers that are set go to a dictionary."""

    def __init__(self):
        self.program = jit.load(
            "kernel.sched.time",
            also=["kernel.x86.tsc"],
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.cpu.rdtsc": lambda: self.tsc,
                "kernel.x86.tsc.system_time_ns": lambda: NOW,
                "kernel.sched.timer_heap.set_timer": self.set_timer,
                "kernel.sched.timer_heap.stop_timer": self.stop_timer,
                "kernel.evtchn.virq.send_guest_vcpu_virq": lambda v, virq: self.virqs.append(virq),
                "kernel.state.domain.first_domain_from": self.first_domain_from,
                "kernel.state.domain.put_domain": lambda d: None,
                "kernel.x86.wallclock.read_cmos_seconds": lambda: 1_700_000_000,
            },
        )
        self.start_over()

    def start_over(self):
        p = self.program
        self.tsc, self.timers, self.virqs = 0, {}, []
        self.cpu = p.new(Pcpu)
        self.d = p.new(Domain, domain_id=4, max_vcpus=1)
        self.d.shared_info = p.new(abi.shared_info)
        self.v = p.new(Vcpu)
        self.v.domain, self.v.vcpu_info = self.d, self.d.shared_info.vcpu_info[0]
        p.init_vcpu_time(self.v)

    def set_timer(self, timer, ns):
        timer.is_active = True
        self.timers[timer.address] = ns

    def stop_timer(self, timer):
        timer.is_active = False
        self.timers.pop(timer.address, None)

    def first_domain_from(self, number):
        return self.d if number <= 4 else None


def guest_clock(info, tsc):
    """Compute system time as the ABI tells guests to (xen.h, vcpu_time_info)."""
    delta = tsc - info.tsc_timestamp
    delta = delta << info.tsc_shift if info.tsc_shift >= 0 else delta >> -info.tsc_shift
    return info.system_time + (delta * info.tsc_to_system_mul >> 32)


@settings(max_examples=60, deadline=None)
@given(khz=st.integers(100_000, 6_000_000), seconds=st.integers(0, 10**7))
def test_guest_and_core_agree(compiled, khz, seconds):
    """To the nanosecond, at any rate and any time."""
    machine = compiled
    machine.start_over()
    machine.program["kernel.x86.tsc.set_scale"](khz)
    machine.program.update_vcpu_time(machine.v)
    tsc = khz * 1000 * seconds + 12345
    info = machine.v.vcpu_info.time
    assert info.version % 2 == 0
    now = guest_clock(info, tsc)
    assert now == machine.program["kernel.x86.tsc.tsc_to_ns"](tsc)
    assert abs(now - tsc * 1_000_000 // khz) <= 2 + now // 1_000_000


def test_version_changes_with_the_content(machine):
    """By two, through an odd number."""
    before = machine.v.vcpu_info.time.version
    machine.program.update_vcpu_time(machine.v)
    assert machine.v.vcpu_info.time.version == before + 2


def test_wallclock(machine):
    """Set for all domains at once: the time at system time 0."""
    machine.program.set_wallclock(1_800_000_003, 500, 3 * NS_PER_S)
    shared = machine.d.shared_info
    assert (shared.wc_sec, shared.wc_nsec, shared.wc_sec_hi) == (1_800_000_000, 500, 0)
    assert shared.wc_version % 2 == 0 and shared.wc_version > 0


def test_wallclock_of_a_dying_domain_is_left_alone(machine):
    """Its shared page may be gone."""
    machine.d.is_dying = 1
    machine.program.set_wallclock(1_800_000_000, 0, 0)
    assert machine.d.shared_info.wc_sec == 0


@settings(max_examples=50, deadline=None)
@given(seconds=st.integers(0, 2**64 - 1), at=st.integers(0, 2**64 - 1))
def test_any_wallclock_is_survived(compiled, seconds, at):
    """Domain 0 may pass nonsense."""
    compiled.start_over()
    compiled.program.set_wallclock(seconds, 4_000_000_000, at)
    assert compiled.d.shared_info.wc_version % 2 == 0


@pytest.mark.parametrize(
    ("timeout", "expected"),
    [
        (1, 1),
        (NOW + 1000, NOW + 1000),
        (NOW + MAX_DELTA_NS, NOW + MAX_DELTA_NS),
        (NOW + MAX_DELTA_NS + 1, NOW + 100 * NS_PER_MS),
        (2**64 - 1, NOW + 100 * NS_PER_MS),
        (2**63, NOW + 100 * NS_PER_MS),
    ],
)
def test_set_timer_op(machine, timeout, expected):
    """Past ones expire at once, absurd ones soon."""
    assert machine.program.do_set_timer_op(machine.v, timeout) == 0
    assert machine.timers == {machine.v.singleshot_timer.address: expected}


def test_zero_stops(machine):
    """The one-shot timer, not the periodic one."""
    machine.program.do_set_timer_op(machine.v, NOW + 5)
    machine.program.start_periodic_timer(machine.v)
    assert machine.program.do_set_timer_op(machine.v, 0) == 0
    assert list(machine.timers) == [machine.v.periodic_timer.address]


def test_periodic_timer(machine):
    """Every 10 ms from when VIRQ_TIMER is bound until the guest stops it."""
    timer = machine.v.periodic_timer
    machine.program.start_periodic_timer(machine.v)
    assert machine.timers == {timer.address: NOW + 10 * NS_PER_MS}
    machine.stop_timer(timer)
    machine.program.periodic_expired(timer)
    assert machine.virqs == [abi.VIRQ_TIMER] and timer.address in machine.timers
    machine.program.set_period(machine.v, 0)
    assert machine.timers == {}
    machine.program.start_periodic_timer(machine.v)
    machine.program.periodic_expired(timer)
    assert machine.timers == {}
