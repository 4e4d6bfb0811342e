"""Event channels: documented errors, delivery to the right vCPU, what closing leaves behind."""

import abi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import Array, jit, u8

from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu, VPF_blocked
from kernel.x86.percpu import Pcpu

PAGE = Array[u8, 4096]


class Machine:
    """Two domains with two vCPUs each; notes which vCPUs were woken or interrupted."""

    def __init__(self):
        self.program = jit.load(
            "kernel.evtchn.channel",
            also=["kernel.evtchn.bind", "kernel.evtchn.close"],
            replace={
                "kernel.frames.core_page.alloc_core_page": self.alloc_page,
                "kernel.frames.core_page.free_core_page": lambda page: None,
                "kernel.sched.wake.vcpu_wake": self.wake,
                "kernel.x86.ipi.ipi_kick": lambda cpu, work: self.kicked.append(cpu),
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.preempt.preempt_pending": lambda: self.meanwhile(),
                "kernel.sched.time.start_periodic_timer": lambda v: None,
                "kernel.irq.irq.pirq_bind": self.pirq_bind,
                "kernel.state.domain.get_domain_by_id": self.find,
                "kernel.irq.irq.pirq_unbind": lambda pirq: self.pirqs.pop(pirq),
            },
        )
        self.cpu = self.program.new(Pcpu, id=0)
        self.start_over()

    def start_over(self):
        """Forget everything that happened."""
        self.woken, self.kicked, self.pirqs = [], [], {}
        self.meanwhile = lambda: False
        self.near, self.far = self.new_domain(1), self.new_domain(2)

    def new_domain(self, number):
        p = self.program
        d = p.new(Domain, domain_id=number, max_vcpus=2, refcount=1)
        d.shared_info = p.new(abi.shared_info)
        for i in range(2):
            v = p.new(Vcpu, vcpu_id=i, processor=10 * number + i)
            v.domain, v.vcpu_info = d, d.shared_info.vcpu_info[i]
            d.vcpus[i] = v
        assert p["kernel.evtchn.bind.init_evtchn"](d, 4095) == 0
        return d

    def find(self, number):
        found = next((d for d in (self.near, self.far) if d.domain_id == number), None)
        if found is not None:
            found.refcount += 1
        return found

    def alloc_page(self):
        return self.program.new(PAGE).address

    def wake(self, v):
        self.woken.append((v.domain.domain_id, v.vcpu_id))

    def pirq_bind(self, d, pirq, v):
        self.pirqs[pirq] = d.domain_id
        return 0

    def call(self, name, *arguments):
        return self.program[f"kernel.evtchn.{name}"](*arguments)

    def op(self, name, d, **fields):
        """Do an operation of a domain; return the port that it opened, if it did, or its result."""
        op = self.program.new(getattr(abi, name.partition(".")[2]), **fields)
        result = self.call(name, d.vcpus[0], op)
        if result != 0 or "port" in fields:
            return result
        return op.local_port if "interdomain" in name else op.port

    def unbound(self, d, remote):
        return self.op("bind.evtchn_alloc_unbound", d, dom=abi.DOMID_SELF, remote_dom=remote)

    def bind(self, near, far, far_port):
        dom = abi.DOMID_SELF if near.domain_id == far.domain_id else far.domain_id
        return self.op("bind.evtchn_bind_interdomain", near, remote_dom=dom, remote_port=far_port)

    def connect(self):
        """Return the two ports of a fresh channel between near and far, quiet."""
        theirs = self.unbound(self.far, 1)
        ours = self.bind(self.near, self.far, theirs)
        assert ours > 0
        self.quiet(self.near)
        return ours, theirs

    def quiet(self, d):
        for i in range(64):
            d.shared_info.evtchn_pending[i] = 0
        for i in range(2):
            d.vcpus[i].vcpu_info.evtchn_pending_sel = 0
            d.vcpus[i].vcpu_info.evtchn_upcall_pending = 0

    def pending(self, d, port):
        return bool(d.shared_info.evtchn_pending[port // 64] >> port % 64 & 1)

    def status(self, d, port):
        status = self.program.new(abi.evtchn_status, port=port)
        result = self.call("channel.describe", d, status)
        return result, status


def test_send_reaches_the_far_vcpu(machine):
    """A signal sets the far port pending, and selector and upcall flag of its vCPU."""
    ours, theirs = machine.connect()
    assert machine.op("bind.evtchn_bind_vcpu", machine.far, port=theirs, vcpu=1) == 0
    machine.far.vcpus[1].pause_flags = VPF_blocked
    assert machine.op("channel.evtchn_send", machine.near, port=ours) == 0
    assert machine.pending(machine.far, theirs)
    info = machine.far.vcpus[1].vcpu_info
    assert (info.evtchn_upcall_pending, info.evtchn_pending_sel) == (1, 1 << theirs // 64)
    assert machine.far.vcpus[0].vcpu_info.evtchn_upcall_pending == 0
    assert machine.woken == [(2, 1)]
    assert machine.far.vcpus[1].pause_flags == 0


def test_send_to_a_running_vcpu_interrupts_its_cpu(machine):
    """A vCPU that runs elsewhere is interrupted once, however many events come."""
    ours, _ = machine.connect()
    machine.far.vcpus[0].is_running = True
    for _ in range(3):
        assert machine.op("channel.evtchn_send", machine.near, port=ours) == 0
    assert machine.kicked == [20] and machine.woken == []


def test_masked_port_stays_quiet_until_unmasked(machine):
    """A masked port becomes pending and no more; unmasking delivers it."""
    ours, theirs = machine.connect()
    machine.far.shared_info.evtchn_mask[theirs // 64] = 1 << theirs % 64
    machine.op("channel.evtchn_send", machine.near, port=ours)
    info = machine.far.vcpus[0].vcpu_info
    assert machine.pending(machine.far, theirs) and info.evtchn_upcall_pending == 0
    assert machine.op("channel.evtchn_unmask", machine.far, port=theirs) == 0
    assert info.evtchn_upcall_pending == 1
    assert machine.far.shared_info.evtchn_mask[theirs // 64] == 0


@pytest.mark.parametrize("port", [0, 5, 255, 256, 4095, 4096, 0xFFFFFFFF])
def test_send_and_close_refuse_what_is_not_open(machine, port):
    """Closed ports, port 0 and ports past the table."""
    assert machine.op("channel.evtchn_send", machine.near, port=port) == -abi.EINVAL
    assert machine.op("close.evtchn_close", machine.near, port=port) == -abi.EINVAL


def test_unbound_swallows_signals(machine):
    """Nobody has bound the other end yet."""
    port = machine.unbound(machine.near, 2)
    assert machine.op("channel.evtchn_send", machine.near, port=port) == 0


def test_binding_needs_an_unbound_port_for_us(machine):
    """Not for another domain, not bound already, not missing."""
    for_third = machine.unbound(machine.far, 3)
    assert machine.bind(machine.near, machine.far, for_third) == -abi.EINVAL
    assert machine.bind(machine.near, machine.far, 77777) == -abi.EINVAL
    _, taken = machine.connect()
    assert machine.bind(machine.near, machine.far, taken) == -abi.EINVAL


def test_closing_leaves_the_far_end_waiting(machine):
    """The far end becomes unbound for the same domain, which may bind it again."""
    ours, theirs = machine.connect()
    assert machine.op("close.evtchn_close", machine.near, port=ours) == 0
    _, status = machine.status(machine.far, theirs)
    assert (status.status, status.u.unbound.dom) == (abi.EVTCHNSTAT_unbound, 1)
    assert machine.status(machine.near, ours)[1].status == abi.EVTCHNSTAT_closed
    assert machine.bind(machine.near, machine.far, theirs) == ours


def test_loopback(machine):
    """Both ends in one domain."""
    first = machine.unbound(machine.near, 1)
    second = machine.bind(machine.near, machine.near, first)
    assert machine.op("channel.evtchn_send", machine.near, port=second) == 0
    assert machine.pending(machine.near, first)
    assert machine.op("close.evtchn_close", machine.near, port=second) == 0
    assert machine.status(machine.near, first)[1].status == abi.EVTCHNSTAT_unbound


def test_virq_rules(machine):
    """Global ones on vCPU 0 only, per-vCPU ones once on each, numbers checked first."""
    bind = "bind.evtchn_bind_virq"
    assert machine.op(bind, machine.near, virq=abi.NR_VIRQS, vcpu=0) == -abi.EINVAL
    assert machine.op(bind, machine.near, virq=abi.VIRQ_CONSOLE, vcpu=1) == -abi.EINVAL
    assert machine.op(bind, machine.near, virq=abi.VIRQ_TIMER, vcpu=2) == -abi.ENOENT
    first = machine.op(bind, machine.near, virq=abi.VIRQ_TIMER, vcpu=0)
    second = machine.op(bind, machine.near, virq=abi.VIRQ_TIMER, vcpu=1)
    assert 0 < first < second
    assert machine.op(bind, machine.near, virq=abi.VIRQ_TIMER, vcpu=1) == -abi.EEXIST
    assert machine.op("bind.evtchn_bind_vcpu", machine.near, port=second, vcpu=0) == -abi.EINVAL
    assert machine.op("close.evtchn_close", machine.near, port=second) == 0
    assert machine.op(bind, machine.near, virq=abi.VIRQ_TIMER, vcpu=1) == second


def test_ipi(machine):
    """An IPI port signals its own vCPU, which cannot be changed."""
    assert machine.op("bind.evtchn_bind_ipi", machine.near, vcpu=2) == -abi.ENOENT
    port = machine.op("bind.evtchn_bind_ipi", machine.near, vcpu=1)
    assert machine.op("channel.evtchn_send", machine.near, port=port) == 0
    assert machine.near.vcpus[1].vcpu_info.evtchn_upcall_pending == 1
    assert machine.op("bind.evtchn_bind_vcpu", machine.near, port=port, vcpu=0) == -abi.EINVAL


def test_pirq_is_for_domain_0(machine):
    """The number is checked before the right."""
    bind = "bind.evtchn_bind_pirq"
    assert machine.op(bind, machine.near, pirq=1 << 20) == -abi.EINVAL
    assert machine.op(bind, machine.near, pirq=9) == -abi.EPERM
    machine.near.is_privileged = True
    port = machine.op(bind, machine.near, pirq=9)
    assert port > 0 and machine.pirqs == {9: 1}
    assert machine.op(bind, machine.near, pirq=9) == -abi.EEXIST
    assert machine.op("close.evtchn_close", machine.near, port=port) == 0
    assert machine.pirqs == {}


def test_dying_domain_opens_nothing(machine):
    """-EINVAL, as for any bad argument."""
    machine.near.is_dying = 1
    assert machine.unbound(machine.near, 2) == -abi.EINVAL


def test_limit(machine):
    """The toolstack's limit counts ports from 0."""
    machine.near.evtchn.max_ports = 4
    ports = [machine.unbound(machine.near, 2) for _ in range(4)]
    assert ports == [1, 2, 3, -abi.ENOSPC]


def test_all_ports_and_reset(machine):
    """4095 channels fit; closing all of them frees every one."""
    ports = {machine.unbound(machine.near, 2) for _ in range(4095)}
    assert ports == set(range(1, 4096))
    assert machine.unbound(machine.near, 2) == -abi.ENOSPC
    assert machine.call("close.evtchn_close_all", machine.near) == 0
    assert machine.near.evtchn.nr_active == 1  # port 0
    assert machine.unbound(machine.near, 2) == 1


def test_reset_needs_right_and_pause(machine):
    """Another domain only by the toolstack, and only while it is paused."""
    reset = "close.may_reset"
    assert machine.call(reset, machine.near, machine.far) == -abi.EPERM
    machine.near.is_privileged = True
    assert machine.call(reset, machine.near, machine.far) == -abi.EINVAL
    machine.far.controller_pause_count = 1
    assert machine.call(reset, machine.near, machine.far) == 0


def test_polling_vcpu_wakes_for_its_port_only(machine):
    """A port that it does not poll leaves it asleep, masked or not."""
    ours, theirs = machine.connect()
    v = machine.far.vcpus[1]
    v.pause_flags, v.poll_port = VPF_blocked, theirs + 1
    machine.far.evtchn.polling_vcpus = 2
    machine.far.shared_info.evtchn_mask[theirs // 64] = (1 << 64) - 1
    machine.op("channel.evtchn_send", machine.near, port=ours)
    assert machine.woken == []
    machine.quiet(machine.far)
    v.poll_port = theirs
    machine.op("channel.evtchn_send", machine.near, port=ours)
    assert machine.woken == [(2, 1)]
    assert (v.pause_flags, v.poll_port, machine.far.evtchn.polling_vcpus) == (0, 0, 0)


@settings(max_examples=40, deadline=None)
@given(steps=st.lists(st.tuples(st.integers(0, 3), st.integers(0, 12)), max_size=40))
def test_ends_always_agree(compiled, steps):
    """Whatever is bound and closed, both ends name each other, and the count is right."""
    machine = compiled
    machine.start_over()
    for action, port in steps:
        match action:
            case 0:
                machine.unbound(machine.far, 1)
            case 1:
                machine.bind(machine.near, machine.far, port)
            case 2:
                machine.op("close.evtchn_close", machine.near, port=port)
            case 3:
                machine.op("close.evtchn_close", machine.far, port=port)
    for d, other in ((machine.near, machine.far), (machine.far, machine.near)):
        open_ports = 0
        for port in range(1, 16):
            status = machine.status(d, port)[1]
            open_ports += status.status != abi.EVTCHNSTAT_closed
            if status.status == abi.EVTCHNSTAT_interdomain:
                assert status.u.interdomain.dom == other.domain_id
                back = machine.status(other, status.u.interdomain.port)[1]
                assert back.u.interdomain.port == port
        assert d.evtchn.nr_active == open_ports + 1


def test_all_ports_are_closed_also_those_opened_meanwhile(machine):
    """A page of ports that came while they were being closed: a port that stays open leads others
    to a domain that is gone.
    """

    def open_more():
        machine.meanwhile = lambda: False
        for _ in range(300):
            assert machine.unbound(machine.near, 2) > 0
        return False

    assert machine.unbound(machine.near, 2) == 1
    machine.meanwhile = open_more
    assert machine.call("close.evtchn_close_all", machine.near) == 0
    assert machine.near.evtchn.nr_ports == 512
    still_open = [p for p in range(1, 512) if machine.call("close.is_open", machine.near, p)]
    assert still_open == [1], "behind the walk, where a dying domain opens none"
