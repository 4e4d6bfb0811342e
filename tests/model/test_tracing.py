"""Tracing as domain 0 controls it: who records, and what is said at the end."""

import ctypes

import abi
import pytest

from tests.model.guest import DATA
from tests.model.processors import NR_MODEL_CPUS

SYSCTL = abi.__HYPERVISOR_sysctl
LIST = DATA


def control(machine, cmd, **fields):
    """Make a tbuf_op of domain 0's that succeeds."""
    version = abi.XEN_SYSCTL_INTERFACE_VERSION
    u = {"tbuf_op": {"cmd": cmd} | fields}
    op = {"cmd": abi.XEN_SYSCTL_tbuf_op, "interface_version": version, "u": u}
    assert machine.dom0.call(SYSCTL, machine.dom0.put(abi.xen_sysctl, **op)) == 0


def rings(machine):
    cpu_by_id = machine["kernel.x86.percpu.cpu_by_id"]
    return [cpu_by_id(number).trace for number in range(NR_MODEL_CPUS)]


def trace_some(machine):
    """Record what two guests do; return how much each processor has recorded."""
    control(machine, abi.XEN_SYSCTL_TBUFOP_enable)
    for guest in (machine.dom0, *machine.guests):
        for _ in range(3):
            guest.call(abi.__HYPERVISOR_xen_version, abi.XENVER_version)
    control(machine, abi.XEN_SYSCTL_TBUFOP_disable)
    return [ring.produced for ring in rings(machine)]


def set_cons(ring, value):
    """Say how much the reader has read: a word in its page."""
    ctypes.c_uint32.from_address(ring.start - 8).value = value


@pytest.fixture
def traced(machine):
    """A machine with a ring of one page for each processor."""
    control(machine, abi.XEN_SYSCTL_TBUFOP_set_size, size=1)
    return machine


def test_chosen_processors_record(traced):
    """And no others."""
    cpu = traced["tests.model.drive.cpu_of"](traced.guests[0].vcpu())
    traced.dom0.write(LIST, (1 << cpu).to_bytes(8, "little"))
    bitmap = {"bitmap": LIST, "nr_bits": 64}
    control(traced, abi.XEN_SYSCTL_TBUFOP_set_cpu_mask, cpu_mask=bitmap)
    produced = trace_some(traced)
    assert [number for number, size in enumerate(produced) if size] == [cpu]


def test_the_end_reports_only_what_was_lost(traced):
    """A ring that lost nothing stays as it is; one that did says so, to a reader in his senses."""
    before = trace_some(traced)
    assert any(before)
    control(traced, abi.XEN_SYSCTL_TBUFOP_disable)
    assert [ring.produced for ring in rings(traced)] == before
    ring, *_ = rings(traced)
    is_sane = traced["kernel.trace.turn.bytes_used"]
    for nonsense in (2, 3, 1 << 31):
        set_cons(ring, nonsense)
        assert not is_sane(ring)[1]
        ring.nr_lost = 1
        control(traced, abi.XEN_SYSCTL_TBUFOP_disable)
        assert ring.produced == before[0]
    set_cons(ring, 0)
    control(traced, abi.XEN_SYSCTL_TBUFOP_disable)
    assert ring.produced != before[0] and ring.nr_lost == 0
