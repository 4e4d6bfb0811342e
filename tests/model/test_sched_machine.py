"""vCPUs, timers and the life of domains: blocking, polling, pausing, pinning, dying in any order.

Each step is one hypercall of some vCPU, or time that passes. Invariants: a vCPU runs or is queued
exactly if nothing keeps it from running, whatever happened; timers are in their heaps; and whoever
paused something counts as long as it is paused.
"""

import abi
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from tests.model.depth import settings
from tests.model.drive import NO_CPU
from tests.model.guest import (
    CALLBACK,
    STACK,
    GuestFault,
    Stopped,
    create_guest,
    try_domctl,
)
from tests.model.invariants_events import check_events
from tests.model.invariants_sched import can_run, check_sched
from tests.model.layout import vcpus_of

# Names of the ABI, which Python would mangle inside a class.
SCHED_OP, VCPU_OP = abi.__HYPERVISOR_sched_op, abi.__HYPERVISOR_vcpu_op
EVENT_OP, SET_TIMER = abi.__HYPERVISOR_event_channel_op, abi.__HYPERVISOR_set_timer_op
SET_CALLBACKS = abi.__HYPERVISOR_set_callbacks
NAMES = st.integers(0, 3)  # of domains: dom0, two guests, and one with three vCPUs
GUESTS = st.integers(1, 3)
VCPUS = st.integers(0, 2)
MS = 1_000_000
DYING = 1


class Vcpus(RuleBasedStateMachine):
    """The rules; `machine` is the whole core."""

    def __init__(self, machine):
        super().__init__()
        self.machine = machine

    @initialize(preempt=st.integers(0, (1 << 64) - 1))
    def begin(self, preempt):
        """Start with dom0, two guests, and one with three vCPUs; all know their timer's event."""
        self.machine.start_over()
        many = create_guest(self.machine, nr_pages=16, nr_vcpus=3)
        self.guests = [self.machine.dom0, *self.machine.guests, many]
        self.dead = set()
        callbacks = (CALLBACK, CALLBACK, CALLBACK)
        assert self.machine.dom0.call(SET_CALLBACKS, *callbacks) == 0
        for guest in self.guests:
            for number in vcpus_of(guest.domain):
                at = guest.put(abi.evtchn_bind_virq, virq=abi.VIRQ_TIMER, vcpu=number)
                call = (EVENT_OP, abi.EVTCHNOP_bind_virq, at)
                assert guest.call(*call) == 0
        self.machine.preempt(preempt)

    def call(self, name, vcpu, number, *arguments, put=None, **fields):
        """Let a vCPU make a hypercall, with a structure as its last argument.

        Returns: the result; None if it does not run, or not until the hypercall returns.
        """
        guest = self.guests[name]
        if name in self.dead or vcpu not in vcpus_of(guest.domain):
            return None
        v = guest.vcpu(vcpu)
        if not can_run(v) or self.machine["tests.model.drive.wait_for_cpu"](v) == NO_CPU:
            return None
        v.regs.rsp = STACK  # events that were delivered have left their frames there
        try:
            at = [guest.put(put, **fields)] if put else []
            return guest.call(number, *arguments, *at, vcpu=vcpu)
        except (Stopped, GuestFault):
            return None

    def sched(self, name, vcpu, command, put=None, **fields):
        number = SCHED_OP
        return self.call(name, vcpu, number, command, put=put, **fields)

    def vcpu_op(self, name, vcpu, command, about, put=None, **fields):
        number = VCPU_OP
        return self.call(name, vcpu, number, command, about, put=put, **fields)

    def control(self, command, name, **u):
        """Let dom0 make a domctl, if it runs."""
        if name in self.dead or not can_run(self.machine.dom0.vcpu()):
            return None
        if self.machine["tests.model.drive.wait_for_cpu"](self.machine.dom0.vcpu()) == NO_CPU:
            return None
        result, _ = try_domctl(self.machine.dom0, command, self.guests[name].id, **u)
        return result

    @rule(name=NAMES, vcpu=VCPUS)
    def yield_(self, name, vcpu):
        assert self.sched(name, vcpu, abi.SCHEDOP_yield) in (0, None)

    @rule(name=NAMES, vcpu=VCPUS)
    def block(self, name, vcpu):
        """Until the next event; an event that waits already is delivered at once."""
        self.sched(name, vcpu, abi.SCHEDOP_block)

    @rule(name=NAMES, vcpu=VCPUS, timeout=st.sampled_from([0, 1, 3 * MS, 10**12]))
    def poll(self, name, vcpu, timeout):
        """Wait for any event, at most until a time."""
        now = self.machine["tests.model.processors.clock"].value
        fields = {"timeout": timeout and now + timeout}
        self.sched(name, vcpu, abi.SCHEDOP_poll, abi.sched_poll, **fields)

    @rule(name=NAMES, vcpu=VCPUS, after=st.sampled_from([-MS, 0, 5 * MS, 10**18]))
    def set_timer(self, name, vcpu, after):
        """The one-shot timer by its own hypercall; 0 stops it."""
        now = self.machine["tests.model.processors.clock"].value
        deadline = after and max(1, now + after)
        assert self.call(name, vcpu, SET_TIMER, deadline) in (0, None)

    @rule(name=NAMES, vcpu=VCPUS, about=VCPUS, after=st.sampled_from([0, 2 * MS]))
    def singleshot(self, name, vcpu, about, after):
        """A vCPU's one-shot timer is its own affair."""
        now = self.machine["tests.model.processors.clock"].value
        command = abi.VCPUOP_set_singleshot_timer if after else abi.VCPUOP_stop_singleshot_timer
        put = abi.vcpu_set_singleshot_timer
        result = self.vcpu_op(name, vcpu, command, about, put, timeout_abs_ns=now + after)
        if result is not None:
            exists = about in vcpus_of(self.guests[name].domain)
            wanted = 0 if about == vcpu else -abi.EINVAL
            assert result == (wanted if exists else -abi.ENOENT)

    @rule(name=NAMES, vcpu=VCPUS, about=VCPUS, period=st.sampled_from([0, MS, 7 * MS]))
    def periodic(self, name, vcpu, about, period):
        """A periodic timer may be set for another vCPU too."""
        command = abi.VCPUOP_set_periodic_timer if period else abi.VCPUOP_stop_periodic_timer
        put = abi.vcpu_set_periodic_timer
        self.vcpu_op(name, vcpu, command, about, put, period_ns=period)

    @rule(name=NAMES, vcpu=VCPUS, about=VCPUS)
    def up(self, name, vcpu, about):
        self.vcpu_op(name, vcpu, abi.VCPUOP_up, about)

    @rule(vcpu=VCPUS, about=VCPUS)
    def down(self, vcpu, about):
        """In the domain with three; the last one's going would be its end."""
        others = [v for n, v in vcpus_of(self.guests[3].domain).items() if n != about]
        if any(v.pause_flags & 2 == 0 for v in others):
            self.vcpu_op(3, vcpu, abi.VCPUOP_down, about)

    @rule(name=GUESTS, vcpu=VCPUS)
    def shut_down(self, name, vcpu):
        fields = {"reason": abi.SHUTDOWN_suspend}
        self.sched(name, vcpu, abi.SCHEDOP_shutdown, abi.sched_shutdown, **fields)

    @rule(name=GUESTS)
    def resume(self, name):
        """Let a domain go on that had shut down; it is harmless for others."""
        assert self.control(abi.XEN_DOMCTL_resumedomain, name) in (0, None)

    @rule(name=GUESTS, timeout=st.sampled_from([0, 1, 20]), number=st.integers(0, 2))
    def watchdog(self, name, timeout, number):
        fields = {"id": number, "timeout": timeout}
        self.sched(name, 0, abi.SCHEDOP_watchdog, abi.sched_watchdog, **fields)

    @rule(name=GUESTS)
    def pause(self, name):
        assert self.control(abi.XEN_DOMCTL_pausedomain, name) in (0, None)

    @rule(name=GUESTS)
    def unpause(self, name):
        """Possible exactly as often as it was paused."""
        count = self.guests[name].domain.controller_pause_count if name not in self.dead else 0
        result = self.control(abi.XEN_DOMCTL_unpausedomain, name)
        assert result is None or (result == 0) == (count > 0)

    @rule(name=GUESTS, vcpu=VCPUS, pause=st.booleans())
    def pause_vcpu(self, name, vcpu, pause):
        """A debugger's: only while the domain is paused."""
        paused = abi.XEN_DOMCTL_gdbsx_pausevcpu
        command = paused if pause else abi.XEN_DOMCTL_gdbsx_unpausevcpu
        self.control(command, name, gdbsx_pauseunp_vcpu={"vcpu": vcpu})

    @rule(name=NAMES, vcpu=VCPUS, cpus=st.integers(0, 31))
    def affinity(self, name, vcpu, cpus):
        """Pin a vCPU; a mask without a processor that runs changes nothing."""
        dom0 = self.machine.dom0
        if not can_run(dom0.vcpu()):
            return
        if self.machine["tests.model.drive.wait_for_cpu"](dom0.vcpu()) == NO_CPU:
            return
        at = dom0.put([cpus])
        bitmap = {"bitmap": at, "nr_bits": 64}
        fields = {"vcpu": vcpu, "flags": abi.XEN_VCPUAFFINITY_HARD, "cpumap_hard": bitmap}
        result = self.control(abi.XEN_DOMCTL_setvcpuaffinity, name, vcpuaffinity=fields)
        if result is not None and vcpu in vcpus_of(self.guests[name].domain):
            assert result == (0 if cpus & 15 else -abi.EINVAL)

    @rule(name=NAMES, weight=st.integers(1, 1000))
    def weigh(self, name, weight):
        credit2 = {"weight": weight}
        fields = {"sched_id": abi.XEN_SCHEDULER_CREDIT2, "u": {"credit2": credit2}}
        fields["cmd"] = abi.XEN_DOMCTL_SCHEDOP_putinfo
        assert self.control(abi.XEN_DOMCTL_scheduler_op, name, scheduler_op=fields) in (0, None)

    @rule(name=GUESTS)
    def destroy(self, name):
        if self.control(abi.XEN_DOMCTL_destroydomain, name) == 0:
            self.dead.add(name)

    @rule(ns=st.sampled_from([1000, MS, 20 * MS, 2_000 * MS]))
    def time_passes(self, ns):
        self.machine.pass_time(ns)

    @invariant()
    def holds(self):
        """Everything that is always true."""
        check_sched(self.machine)
        check_events(self.machine)
        check_pauses(self.machine)


def check_pauses(machine):
    """Pauses are counted by whoever made them."""
    for domain in machine.alive():
        name = f"d{domain.domain_id}"
        by_core = 1 if domain.is_dying >= DYING else 0
        counted = domain.controller_pause_count + by_core
        assert domain.pause_count == counted, f"{name}: paused {domain.pause_count} times"
        for number, v in vcpus_of(domain).items():
            counted = v.controller_pause_count + v.is_paused_for_shutdown
            assert v.pause_count == counted, f"{name}v{number}: paused {v.pause_count} times"
        if domain.is_dying < DYING:
            lasting = 2  # its killer's, and that of its frames together
            assert domain.refcount == lasting, f"{name}: {domain.refcount} references"


@pytest.mark.deep
def test_vcpus(whole_machine):
    """Whatever is done in whatever order."""
    run_state_machine_as_test(lambda: Vcpus(whole_machine), settings=settings(25, 50))
