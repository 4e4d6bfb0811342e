"""Event channels under whatever several domains do with them, dom0 and dying ones included.

Each step is one hypercall, by any vCPU, with arguments that are often right; all invariants hold
after each. A domain can be destroyed while others are connected with it.
"""

import abi
import pytest
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.model.depth import settings
from tests.model.drive import NO_CPU
from tests.model.guest import Stopped, create_guest, domctl, try_domctl
from tests.model.invariants_events import channels_of, check_events
from tests.model.invariants_sched import check_sched

CALL = abi.__HYPERVISOR_event_channel_op
NAMES = st.integers(0, 3)  # of domains: dom0, two guests, and one with two vCPUs
PORTS = st.one_of(st.integers(0, 9), st.sampled_from([255, 256, 4095, 4096]))
VCPUS = st.integers(0, 2)
VIRQS = st.sampled_from([abi.VIRQ_TIMER, abi.VIRQ_DEBUG, abi.VIRQ_CONSOLE, abi.NR_VIRQS])
PIRQS = st.integers(16, 19)


class EventChannels(RuleBasedStateMachine):
    """The rules; `machine` is the whole core."""

    def __init__(self, machine):
        super().__init__()
        self.machine = machine

    @initialize(preempt=st.integers(0, (1 << 64) - 1))
    def begin(self, preempt):
        """Start with dom0, two guests, and one with two vCPUs; urgent work comes by `preempt`."""
        self.machine.start_over()
        pair = create_guest(self.machine, nr_pages=16, nr_vcpus=2)
        self.guests = [self.machine.dom0, *self.machine.guests, pair]
        self.dead = set()
        self.machine.preempt(preempt)

    def call(self, caller, command, type_, **fields):
        """Make a hypercall; return its result and the structure, None if the caller cannot."""
        guest = self.guests[caller]
        if caller in self.dead:
            return None, None
        if self.machine["tests.model.drive.wait_for_cpu"](guest.vcpu()) == NO_CPU:
            return None, None
        try:
            at = guest.put(type_, **fields)
            return guest.call(CALL, command, at), guest.get(type_, at)
        except Stopped:
            return None, None

    def id_of(self, name):
        return self.guests[name].id

    @rule(caller=NAMES, owner=NAMES, remote=NAMES)
    def alloc_unbound(self, caller, owner, remote):
        """Only dom0 opens ports for others, and nobody for the dead."""
        fields = {"dom": self.id_of(owner), "remote_dom": self.id_of(remote)}
        result, _ = self.call(
            caller, abi.EVTCHNOP_alloc_unbound, abi.evtchn_alloc_unbound, **fields
        )
        if result is not None:
            wanted = -abi.EPERM if caller not in (0, owner) else 0
            wanted = -abi.ESRCH if owner in self.dead else wanted
            assert result == wanted

    @rule(caller=NAMES, remote=NAMES, port=PORTS)
    def bind_interdomain(self, caller, remote, port):
        """Possible exactly with a port that waits for the caller."""
        waits = False
        if remote not in self.dead:
            channels = channels_of(self.guests[remote].domain)
            found = channels[port] if port < len(channels) else None
            unbound = found is not None and found.state == abi.EVTCHNSTAT_unbound
            waits = unbound and found.number == self.id_of(caller)
        fields = {"remote_dom": self.id_of(remote), "remote_port": port}
        command = abi.EVTCHNOP_bind_interdomain
        result, _ = self.call(caller, command, abi.evtchn_bind_interdomain, **fields)
        if result is not None:
            assert (result == 0) == waits

    @rule(caller=NAMES, virq=VIRQS, vcpu=VCPUS)
    def bind_virq(self, caller, virq, vcpu):
        self.call(caller, abi.EVTCHNOP_bind_virq, abi.evtchn_bind_virq, virq=virq, vcpu=vcpu)

    @rule(caller=NAMES, vcpu=VCPUS)
    def bind_ipi(self, caller, vcpu):
        self.call(caller, abi.EVTCHNOP_bind_ipi, abi.evtchn_bind_ipi, vcpu=vcpu)

    @rule(caller=NAMES, pirq=PIRQS)
    def bind_pirq(self, caller, pirq):
        """Interrupts of the machine are dom0's."""
        result, _ = self.call(caller, abi.EVTCHNOP_bind_pirq, abi.evtchn_bind_pirq, pirq=pirq)
        assert result is None or caller == 0 or result == -abi.EPERM

    @rule(caller=NAMES, port=PORTS, vcpu=VCPUS)
    def bind_vcpu(self, caller, port, vcpu):
        self.call(caller, abi.EVTCHNOP_bind_vcpu, abi.evtchn_bind_vcpu, port=port, vcpu=vcpu)

    @rule(caller=NAMES, port=PORTS)
    def close(self, caller, port):
        self.call(caller, abi.EVTCHNOP_close, abi.evtchn_close, port=port)

    @rule(caller=NAMES, port=PORTS)
    def send(self, caller, port):
        """The far port is pending afterwards."""
        channels = [] if caller in self.dead else channels_of(self.guests[caller].domain)
        result, _ = self.call(caller, abi.EVTCHNOP_send, abi.evtchn_send, port=port)
        if result == 0 and channels[port].state == abi.EVTCHNSTAT_interdomain:
            far = channels[port]
            (domain,) = (d for d in self.machine.alive() if int(d) == far.remote)
            word = domain.shared_info.evtchn_pending[far.number // 64]
            assert word >> far.number % 64 & 1

    @rule(caller=NAMES, port=PORTS)
    def mask(self, caller, port):
        """The guest masks a port by itself."""
        if caller not in self.dead and port < 4096:
            shared = self.guests[caller].domain.shared_info
            shared.evtchn_mask[port // 64] |= 1 << port % 64

    @rule(caller=NAMES, port=PORTS)
    def unmask(self, caller, port):
        self.call(caller, abi.EVTCHNOP_unmask, abi.evtchn_unmask, port=port)

    @rule(caller=NAMES, about=NAMES, port=PORTS)
    def status(self, caller, about, port):
        """Only dom0 may look at others; what it sees is what there is."""
        fields = {"dom": self.id_of(about), "port": port}
        result, found = self.call(caller, abi.EVTCHNOP_status, abi.evtchn_status, **fields)
        if result == 0:
            assert caller in (0, about)
            state = channels_of(self.guests[about].domain)[port].state
            assert found.status == (0 if state == 255 else state)

    @rule(caller=NAMES, about=NAMES)
    def reset(self, caller, about):
        """By its own will, or by dom0's while it is paused."""
        result, _ = self.call(caller, abi.EVTCHNOP_reset, abi.evtchn_reset, dom=self.id_of(about))
        if result == 0:
            domain = self.guests[about].domain
            assert caller == about or (caller == 0 and domain.controller_pause_count)
            assert domain.evtchn.nr_active == 1

    @rule(name=NAMES, pause=st.booleans())
    @precondition(lambda self: len(self.dead) < 3)
    def pause(self, name, pause):
        if name and name not in self.dead:
            command = abi.XEN_DOMCTL_pausedomain if pause else abi.XEN_DOMCTL_unpausedomain
            try_domctl(self.machine.dom0, command, self.id_of(name))

    @rule(name=st.integers(1, 3))
    def destroy(self, name):
        """What was connected with it is unbound again, by the invariants."""
        if name not in self.dead:
            domctl(self.machine.dom0, abi.XEN_DOMCTL_destroydomain, self.id_of(name))
            self.dead.add(name)

    @rule(ns=st.sampled_from([1_000_000, 50_000_000]))
    def time_passes(self, ns):
        self.machine.pass_time(ns)

    @invariant()
    def holds(self):
        """Everything that is always true."""
        check_events(self.machine)
        check_sched(self.machine)


@pytest.mark.deep
def test_event_channels(whole_machine):
    """Whatever is done in whatever order."""
    run_state_machine_as_test(lambda: EventChannels(whole_machine), settings=settings(25, 40))
