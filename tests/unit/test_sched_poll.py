"""SCHEDOP_poll: when the caller sleeps, what it is told, and what wakes it."""

import abi
import pytest
from kpy import jit

from kernel.evtchn.channel import EVTCHNSTAT_reserved
from kernel.state.domain import Domain
from kernel.state.evtchn_table import ChannelPage
from kernel.state.vcpu import Vcpu, VPF_blocked
from kernel.x86.percpu import Pcpu
from tests.unit.guest import GuestMemory

BASE = 0x5000
PORTS = BASE + 64


class Machine:
    """One vCPU with guest memory; a clock, and who was woken."""

    def __init__(self):
        self.memory = GuestMemory(BASE)
        self.program = jit.load(
            "kernel.sched.poll",
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.base.guest_memory.copy_bytes_from_guest": self.memory.copy_from_guest,
                "kernel.sched.timer_heap.set_timer": lambda timer, ns: self.timers.append(ns),
                "kernel.sched.wake.vcpu_wake": lambda v: self.woken.append(v.vcpu_id),
            },
        )
        self.start_over()

    def start_over(self):
        p = self.program
        self.timers, self.woken = [], []
        self.cpu = p.new(Pcpu)
        self.d = p.new(Domain, max_vcpus=4)
        self.d.shared_info = p.new(abi.shared_info)
        self.v = p.new(Vcpu, vcpu_id=2)
        self.v.domain, self.v.vcpu_info = self.d, self.d.shared_info.vcpu_info[2]
        self.v.vcpu_info.evtchn_upcall_mask = 1
        self.d.vcpus[2] = self.v
        self.channels = p.new(ChannelPage)
        self.d.evtchn.pages[0], self.d.evtchn.nr_ports = self.channels, 256
        for port in (3, 70, 71):
            self.channels.channels[port].state = abi.EVTCHNSTAT_unbound

    def poll(self, *ports, timeout=0, ports_at=PORTS, nr=None):
        self.memory.write(PORTS, b"".join(port.to_bytes(4, "little") for port in ports))
        nr = len(ports) if nr is None else nr
        words = (ports_at, nr, timeout)
        self.memory.write(BASE, b"".join(word.to_bytes(8, "little") for word in words))
        return self.program["kernel.sched.poll.sched_poll.entry"](self.v, BASE)

    def sleeps(self):
        return bool(self.v.pause_flags & VPF_blocked) and self.cpu.reschedule


def test_one_port(machine):
    """It sleeps, for this port only."""
    assert machine.poll(70) == 0
    assert machine.sleeps() and machine.timers == []
    assert (machine.v.poll_port, machine.d.evtchn.polling_vcpus) == (70, 1 << 2)


def test_several_ports_and_a_timeout(machine):
    """Any event wakes it then; the timeout is absolute."""
    assert machine.poll(70, 71, timeout=12345) == 0
    assert machine.sleeps() and machine.timers == [12345]
    assert machine.v.poll_port == 0


@pytest.mark.parametrize("masked", [0, 1])
def test_pending_port_does_not_sleep(machine, masked):
    """Masked or not."""
    machine.d.shared_info.evtchn_pending[1] = 1 << 6
    machine.d.shared_info.evtchn_mask[1] = masked << 6
    assert machine.poll(3, 70) == 0
    assert not machine.sleeps() and machine.d.evtchn.polling_vcpus == 0


def test_deliverable_event_does_not_sleep(machine):
    """An upcall is due."""
    info = machine.v.vcpu_info
    info.evtchn_upcall_mask, info.evtchn_upcall_pending = 0, 1
    assert machine.poll(70) == 0
    assert not machine.sleeps()


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"nr": 129}, abi.EINVAL),
        ({"nr": 1, "ports_at": 0x9000}, abi.EFAULT),
        ({"nr": 1, "ports_at": 0xFFFF_8000_0000_0000}, abi.EFAULT),
    ],
)
def test_bad_arguments(machine, arguments, error):
    """Nothing stays set."""
    assert machine.poll(**arguments) == -error
    assert not machine.sleeps() and machine.v.pause_flags == 0
    assert machine.d.evtchn.polling_vcpus == 0


@pytest.mark.parametrize("port", [0, 69, 256, 4095, 4096])
def test_closed_port(machine, port):
    """Neither one that is closed nor one that can't be open, as on Xen."""
    machine.channels.channels[0].state = EVTCHNSTAT_reserved
    assert machine.poll(70, port) == -abi.EINVAL
    assert not machine.sleeps()


def test_timeout_wakes_once(machine):
    """A timer that expires after an event has ended the poll does nothing."""
    machine.poll(70, timeout=1)
    expired = machine.program.poll_timed_out
    expired(machine.v.poll_timer)
    assert machine.woken == [2] and machine.v.pause_flags == 0
    assert machine.d.evtchn.polling_vcpus == 0
    expired(machine.v.poll_timer)
    assert machine.woken == [2]


def test_a_poll_that_an_event_ended_wakes_from_no_later_sleep(machine):
    """Its timer goes on; the vCPU waits for an event now, not for a time."""
    machine.poll(70, timeout=1)
    machine.program["kernel.sched.wake.vcpu_unblock"](machine.v)
    assert machine.woken == [2]
    machine.v.pause_flags = VPF_blocked
    machine.program.poll_timed_out(machine.v.poll_timer)
    assert machine.woken == [2] and machine.v.pause_flags == VPF_blocked
