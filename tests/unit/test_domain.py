"""The table of domains, references, shutdown, and what getdomaininfo says."""

import abi
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

from kernel.domain.shutdown import SHUTDOWN_CODE_none
from kernel.state.domain import Domain
from kernel.state.vcpu import EVENT_shutdown, Vcpu, VPF_blocked, VPF_down
from kernel.x86.percpu import Pcpu


class StoppedError(Exception):
    """The machine is off, or starts again."""


def stop(how):
    """Stand in for functions that never return."""
    raise StoppedError(how)


class Machine:
    """A domain table; what is paused, printed and signalled goes to lists."""

    def __init__(self):
        self.program = jit.load(
            "kernel.state.domain",
            also=[
                "kernel.state.domain_table",
                "kernel.domain.shutdown",
                "kernel.sched.pause",
                "kernel.domain.info",
            ],
            replace={
                "kernel.x86.percpu.this_cpu": lambda: self.cpu,
                "kernel.x86.ipi.serve_mailbox": lambda: None,
                "kernel.sched.wake.vcpu_pause_nosync": self.pause,
                "kernel.sched.wake.vcpu_unpause": self.unpause,
                "kernel.sched.wake.vcpu_sleep_sync": lambda v: None,
                "kernel.sched.wake.vcpu_sleep_nosync": lambda v: None,
                "kernel.sched.wake.vcpu_wake": lambda v: self.events.append("wake"),
                "kernel.evtchn.virq.send_global_virq": lambda virq: self.events.append(virq),
                "kernel.console.console.write_str": lambda text: self.printed.append(bytes(text)),
                "kernel.console.console.write_int": lambda value, negative, style: None,
                "kernel.console.console.end_line": lambda: None,
                "kernel.x86.power.machine_power_off": lambda: stop("off"),
                "kernel.x86.power.machine_restart": lambda: stop("restart"),
                "kernel.sched.runstate.vcpu_runtime_ns": lambda v: 100,
            },
        )
        self.start_over()

    def start_over(self):
        self.events, self.printed, self.domains = [], [], {}
        self.cpu = self.program.new(Pcpu)
        table = self.program.domain_table
        table.first = table.buried = None
        table.nr_domains = table.last_id = 0
        for i in range(64):
            table.buckets[i] = None

    def pause(self, v):
        v.pause_count += 1

    def unpause(self, v):
        v.pause_count -= 1

    def new_domain(self, number, vcpus=0):
        d = self.program.new(
            Domain,
            domain_id=number,
            refcount=1,
            max_vcpus=vcpus,
            shutdown_code=SHUTDOWN_CODE_none,
        )
        for i in range(vcpus):
            v = self.program.new(Vcpu, vcpu_id=i)
            v.domain = d
            d.vcpus[i] = v
        if self.program["kernel.state.domain_table.link_domain"](d):
            self.domains[number] = d
        return d

    def listed(self):
        """Return the ids in the table's order, by the interface."""
        ids, following = [], 0
        while (d := self.program.first_domain_from(following)) is not None:
            ids.append(d.domain_id)
            self.program.put_domain(d)
            following = d.domain_id + 1
        return ids


@settings(max_examples=60, deadline=None)
@given(steps=st.lists(st.tuples(st.booleans(), st.integers(0, 200)), max_size=60))
def test_table_against_a_dictionary(compiled, steps):
    """Ids that share a bucket, entered and left in any order."""
    machine = compiled
    machine.start_over()
    for is_entry, number in steps:
        if is_entry:
            machine.new_domain(number * 32)
        elif number * 32 in machine.domains:
            machine.program.put_domain(machine.domains.pop(number * 32))
        assert machine.listed() == sorted(machine.domains)
    for number, domain in machine.domains.items():
        found = machine.program.get_domain_by_id(number)
        assert found.address == domain.address and domain.refcount == 2
        machine.program.put_domain(found)
    assert machine.program.domain_table.nr_domains == len(machine.domains)


def test_an_id_is_unique(machine):
    """A second domain of the same id is refused."""
    machine.new_domain(5)
    twin = machine.program.new(Domain, domain_id=5)
    assert not machine.program["kernel.state.domain_table.link_domain"](twin)


def test_table_has_an_end(machine):
    """128 domains."""
    for number in range(128):
        machine.new_domain(number)
    assert not machine.program["kernel.state.domain_table.link_domain"](
        machine.program.new(Domain, domain_id=500)
    )


def test_free_ids_go_round(machine):
    """Upwards from the last one given, past those in use, never 0 nor a reserved one."""
    machine.new_domain(2)
    assert [
        machine.program["kernel.state.domain_table.first_free_domain_id"]() for _ in range(3)
    ] == [
        1,
        3,
        4,
    ]
    machine.program.domain_table.last_id = abi.DOMID_FIRST_RESERVED - 1
    assert machine.program["kernel.state.domain_table.first_free_domain_id"]() == 1


def test_last_reference_buries(machine):
    """A domain without references is not found, and waits to be freed."""
    d = machine.new_domain(3)
    machine.program.get_domain(d)
    machine.program.put_domain(d)
    assert machine.program.domain_table.buried is None
    machine.program.put_domain(d)
    assert machine.program.get_domain_by_id(3) is None
    assert machine.program.domain_table.buried.address == d.address


def test_shutdown(machine):
    """Every vCPU pauses once, the first reason stays, the toolstack is told once."""
    d = machine.new_domain(3, vcpus=2)
    shutdown = machine.program["kernel.domain.shutdown.domain_shutdown"]
    assert shutdown(d, abi.SHUTDOWN_reboot) == 0
    assert shutdown(d, abi.SHUTDOWN_poweroff) == 0
    assert [d.vcpus[i].pause_count for i in range(2)] == [1, 1]
    assert (d.shutdown_code, d.is_shut_down) == (abi.SHUTDOWN_reboot, True)
    assert machine.events == [abi.VIRQ_DOM_EXC]


def test_a_debugger_learns_on_which_vcpu_it_ended(machine):
    """Only while one is attached, and only if the domain ended itself."""
    shutdown = machine.program["kernel.domain.shutdown.domain_shutdown"]
    for attached, itself in ((True, True), (False, True), (True, False)):
        machine.start_over()
        d, other = machine.new_domain(3, vcpus=2), machine.new_domain(4, vcpus=1)
        d.debugger_attached = attached
        machine.cpu.current = d.vcpus[1] if itself else other.vcpus[0]
        assert shutdown(d, abi.SHUTDOWN_crash) == 0
        events = [d.vcpus[0].debugger_event, d.vcpus[1].debugger_event]
        assert events == ([0, EVENT_shutdown] if attached and itself else [0, 0])
        assert other.vcpus[0].debugger_event == 0


def test_resume_undoes_a_shutdown(machine):
    """As after a suspension that was called off."""
    d = machine.new_domain(3, vcpus=2)
    machine.program["kernel.domain.shutdown.domain_shutdown"](d, abi.SHUTDOWN_suspend)
    machine.program["kernel.sched.pause.domain_resume"](d)
    assert [d.vcpus[i].pause_count for i in range(2)] == [0, 0]
    assert (d.is_shut_down, d.shutdown_code) == (False, SHUTDOWN_CODE_none)
    assert d.pause_count == 0


def test_crash_is_reported_once(machine):
    """With the reason, on the console."""
    d = machine.new_domain(3, vcpus=1)
    machine.program.domain_crash(d, b"it did something")
    machine.program.domain_crash(d, b"again")
    text = b"".join(machine.printed)
    assert b"it did something" in text and b"again" not in text
    assert d.shutdown_code == abi.SHUTDOWN_crash


@pytest.mark.parametrize(
    ("reason", "what"), [(abi.SHUTDOWN_poweroff, "off"), (abi.SHUTDOWN_reboot, "restart")]
)
def test_domain_0_takes_the_machine_along(machine, reason, what):
    """Power-off and restart."""
    d = machine.new_domain(0, vcpus=1)
    d.is_privileged = True
    with pytest.raises(StoppedError, match=what):
        machine.program["kernel.domain.shutdown.domain_shutdown"](d, reason)


def test_controller_pauses_are_counted(machine):
    """Unpausing what is not paused is an error; so is pausing too often."""
    d = machine.new_domain(3, vcpus=1)
    pause = machine.program["kernel.sched.pause.domain_pause_by_controller"]
    unpause = machine.program["kernel.sched.pause.domain_unpause_by_controller"]
    assert unpause(d) == -abi.EINVAL
    assert [pause(d) for _ in range(256)] == [0] * 255 + [-abi.EOVERFLOW]
    assert [unpause(d) for _ in range(256)] == [0] * 255 + [-abi.EINVAL]
    assert machine.events == ["wake"] and d.pause_count == 0


def info_of(machine, d):
    info = machine.program.new(abi.xen_domctl_getdomaininfo)
    machine.program["kernel.domain.info.domain_info"](d, info)
    return info


def test_info_counts_vcpus(machine):
    """A down one is not online; the domain is blocked when all online ones are."""
    d = machine.new_domain(3, vcpus=3)
    for i, flags in enumerate((VPF_blocked, VPF_blocked, VPF_down)):
        d.vcpus[i].pause_flags = flags
    info = info_of(machine, d)
    assert (info.nr_online_vcpus, info.max_vcpu_id, info.cpu_time) == (2, 2, 300)
    assert info.flags & abi.XEN_DOMINF_blocked
    d.vcpus[0].pause_flags = 0
    d.vcpus[0].is_running = True
    info = info_of(machine, d)
    assert info.flags & (abi.XEN_DOMINF_blocked | abi.XEN_DOMINF_running) == abi.XEN_DOMINF_running


def test_info_tells_the_end(machine):
    """Shut down with a code, paused, dying when it is dead."""
    d = machine.new_domain(3, vcpus=1)
    machine.program["kernel.domain.shutdown.domain_shutdown"](d, abi.SHUTDOWN_crash)
    d.controller_pause_count, d.is_dying = 1, 1
    flags = info_of(machine, d).flags
    assert flags >> 16 & 0xFF == abi.SHUTDOWN_crash
    assert flags & abi.XEN_DOMINF_shutdown and flags & abi.XEN_DOMINF_paused
    assert not flags & abi.XEN_DOMINF_dying
    d.is_dying = 2
    assert info_of(machine, d).flags & abi.XEN_DOMINF_dying


def test_info_of_a_domain_without_vcpus(machine):
    """No highest number, and not blocked."""
    info = info_of(machine, machine.new_domain(3))
    assert info.max_vcpu_id == abi.XEN_INVALID_MAX_VCPU_ID
    assert info.nr_online_vcpus == 0 and not info.flags & abi.XEN_DOMINF_blocked
