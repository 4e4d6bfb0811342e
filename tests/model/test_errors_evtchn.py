"""event_channel_op: every documented error."""

import abi
import pytest

from kernel.irq.irq import PIRQ_FREE, PIRQ_GSI
from tests.model.codes import EEXIST, EFAULT, EINVAL, ENOENT, ENOSPC, ENOSYS, EPERM, ESRCH
from tests.model.errors import (
    CORE,
    NOBODY,
    SELF,
    UNMAPPED,
    ReadOnly,
    Wrong,
    check,
    guest,
    hypercall,
    other,
)
from tests.model.guest import BASE, domctl

op = hypercall(abi.__HYPERVISOR_event_channel_op)
OLD = abi.__HYPERVISOR_event_channel_op_compat
STRUCTURES = {
    abi.EVTCHNOP_send: abi.evtchn_send,
    abi.EVTCHNOP_unmask: abi.evtchn_unmask,
    abi.EVTCHNOP_alloc_unbound: abi.evtchn_alloc_unbound,
    abi.EVTCHNOP_bind_interdomain: abi.evtchn_bind_interdomain,
    abi.EVTCHNOP_bind_virq: abi.evtchn_bind_virq,
    abi.EVTCHNOP_bind_ipi: abi.evtchn_bind_ipi,
    abi.EVTCHNOP_bind_pirq: abi.evtchn_bind_pirq,
    abi.EVTCHNOP_bind_vcpu: abi.evtchn_bind_vcpu,
    abi.EVTCHNOP_close: abi.evtchn_close,
    abi.EVTCHNOP_status: abi.evtchn_status,
    abi.EVTCHNOP_reset: abi.evtchn_reset,
}


def send(port):
    return op(abi.EVTCHNOP_send, abi.evtchn_send, port=port)


def close(port):
    return op(abi.EVTCHNOP_close, abi.evtchn_close, port=port)


def unmask(port):
    return op(abi.EVTCHNOP_unmask, abi.evtchn_unmask, port=port)


def alloc(dom, remote=0):
    return op(abi.EVTCHNOP_alloc_unbound, abi.evtchn_alloc_unbound, dom=dom, remote_dom=remote)


def connect(dom, port):
    fields = {"remote_dom": dom, "remote_port": port}
    return op(abi.EVTCHNOP_bind_interdomain, abi.evtchn_bind_interdomain, **fields)


def bind_virq(virq, vcpu=0):
    return op(abi.EVTCHNOP_bind_virq, abi.evtchn_bind_virq, virq=virq, vcpu=vcpu)


def bind_ipi(vcpu):
    return op(abi.EVTCHNOP_bind_ipi, abi.evtchn_bind_ipi, vcpu=vcpu)


def bind_pirq(pirq):
    return op(abi.EVTCHNOP_bind_pirq, abi.evtchn_bind_pirq, pirq=pirq)


def mapped_pirq(machine):
    """Let interrupt 9 be a device's."""
    machine["kernel.irq.irq.pirqs"][9].kind = PIRQ_GSI


def unmapped_pirq(machine):
    """Let it be nobody's."""
    machine["kernel.irq.irq.pirqs"][9].kind = PIRQ_FREE


def bind_vcpu(port, vcpu):
    return op(abi.EVTCHNOP_bind_vcpu, abi.evtchn_bind_vcpu, port=port, vcpu=vcpu)


def status(dom, port):
    return op(abi.EVTCHNOP_status, abi.evtchn_status, dom=dom, port=port)


def reset(dom):
    return op(abi.EVTCHNOP_reset, abi.evtchn_reset, dom=dom)


def read_only(call):
    """The same call with its structure in read-only memory."""
    number, command, argument = call
    return (number, command, ReadOnly(argument.type, argument.fields))


def opened(machine, by, command, **fields):
    """Open a port; return it."""
    type_ = STRUCTURES[command]
    address = by.put(type_, **fields)
    assert by.call(abi.__HYPERVISOR_event_channel_op, command, address) == 0
    structure = by.get(type_, address)
    return structure.local_port if type_ is abi.evtchn_bind_interdomain else structure.port


def with_port(**fields):
    """Let the caller have an unbound port, number 1."""
    wanted = {"dom": SELF, "remote_dom": 0} | fields
    return lambda m: opened(m, guest(m), abi.EVTCHNOP_alloc_unbound, **wanted)


def with_virq(virq):
    return lambda m: opened(m, guest(m), abi.EVTCHNOP_bind_virq, virq=virq)


def with_ipi(m):
    opened(m, guest(m), abi.EVTCHNOP_bind_ipi, vcpu=0)


def others_port(remote):
    """Let the neighbour have a port that waits for domain `remote`."""
    return lambda m: opened(m, other(m), abi.EVTCHNOP_alloc_unbound, dom=SELF, remote_dom=remote)


def taken_port(m):
    """Let the neighbour's port be connected with dom0."""
    port = opened(m, other(m), abi.EVTCHNOP_alloc_unbound, dom=SELF, remote_dom=0)
    fields = {"remote_dom": other(m).id, "remote_port": port}
    opened(m, m.dom0, abi.EVTCHNOP_bind_interdomain, **fields)


def few_ports(m):
    """Let the caller have no more ports than it has open."""
    guest(m).domain.evtchn.max_ports = 1


TABLE = [
    Wrong("no such operation", op(99, at=BASE), ENOSYS),
    Wrong("FIFO: init_control", op(abi.EVTCHNOP_init_control, at=BASE), ENOSYS),
    Wrong("old form: unmapped", (OLD, UNMAPPED), EFAULT),
    Wrong("old form: too young", (OLD, lambda m: guest(m).put([abi.EVTCHNOP_reset])), ENOSYS),
    Wrong("send: closed", send(77), EINVAL),
    Wrong("send: port 0", send(0), EINVAL),
    Wrong("send: past the table", send(1 << 20), EINVAL),
    Wrong("send: a VIRQ", send(1), EINVAL, first=with_virq(abi.VIRQ_TIMER)),
    Wrong("unmask: past the table", unmask(4096), EINVAL),
    Wrong("close: closed", close(77), EINVAL),
    Wrong("close: port 0", close(0), EINVAL),
    Wrong("close: past the table", close(4096), EINVAL),
    Wrong("alloc_unbound: no such domain", alloc(NOBODY), ESRCH),
    Wrong("alloc_unbound: another's", alloc(2), EPERM),
    Wrong("alloc_unbound: limit", alloc(SELF), ENOSPC, first=few_ports),
    Wrong("bind_interdomain: no such domain", connect(NOBODY, 1), ESRCH),
    Wrong("bind_interdomain: closed", connect(2, 1), EINVAL),
    Wrong("bind_interdomain: past the table", connect(2, 1 << 20), EINVAL),
    Wrong("bind_interdomain: for another", connect(2, 1), EINVAL, first=others_port(0)),
    Wrong("bind_interdomain: taken", connect(2, 1), EINVAL, first=taken_port),
    Wrong(
        "bind_interdomain: limit",
        connect(2, 1),
        ENOSPC,
        first=lambda m: (others_port(1)(m), few_ports(m)),
    ),
    Wrong("bind_virq: no such VIRQ", bind_virq(abi.NR_VIRQS), EINVAL),
    Wrong("bind_virq: global, not on vCPU 0", bind_virq(abi.VIRQ_CONSOLE, 1), EINVAL),
    Wrong("bind_virq: no such vCPU", bind_virq(abi.VIRQ_TIMER, 1), ENOENT),
    Wrong("bind_virq: vCPU out of range", bind_virq(abi.VIRQ_TIMER, 1 << 20), ENOENT),
    Wrong("bind_virq: bound", bind_virq(0), EEXIST, first=with_virq(0)),
    Wrong("bind_virq: limit", bind_virq(0), ENOSPC, first=few_ports),
    Wrong("bind_ipi: no such vCPU", bind_ipi(1), ENOENT),
    Wrong("bind_ipi: limit", bind_ipi(0), ENOSPC, first=few_ports),
    Wrong("bind_pirq: not domain 0", bind_pirq(9), EPERM),
    Wrong("bind_pirq: domain 0's", bind_pirq(9), EPERM, first=mapped_pirq),
    Wrong("bind_pirq: not mapped", bind_pirq(9), EPERM, by="dom0", first=unmapped_pirq),
    Wrong("bind_pirq: no such interrupt", bind_pirq(1 << 20), EINVAL),
    Wrong("bind_pirq: no such interrupt", bind_pirq(1 << 20), EINVAL, by="dom0"),
    Wrong("bind_vcpu: no such vCPU", bind_vcpu(1, 1), ENOENT, first=with_port()),
    Wrong("bind_vcpu: closed", bind_vcpu(77, 0), EINVAL),
    Wrong("bind_vcpu: past the table", bind_vcpu(4096, 0), EINVAL),
    Wrong("bind_vcpu: IPI", bind_vcpu(1, 0), EINVAL, first=with_ipi),
    Wrong("bind_vcpu: timer", bind_vcpu(1, 0), EINVAL, first=with_virq(abi.VIRQ_TIMER)),
    Wrong("status: no such domain", status(NOBODY, 1), ESRCH),
    Wrong("status: another's", status(2, 0), EPERM),
    Wrong("status: past the table", status(SELF, 4096), EINVAL),
    Wrong("reset: no such domain", reset(NOBODY), ESRCH),
    Wrong("reset: another's", reset(2), EPERM),
    Wrong("reset: running", reset(2), EINVAL, by="dom0"),
]
TABLE += [  # what is done, but cannot be told
    Wrong("alloc_unbound: read-only", read_only(alloc(SELF)), EFAULT, leaves_trace=True),
    Wrong("bind_virq: read-only", read_only(bind_virq(0)), EFAULT, leaves_trace=True),
    Wrong("bind_ipi: read-only", read_only(bind_ipi(0)), EFAULT, leaves_trace=True),
    Wrong("status: read-only", read_only(status(SELF, 0)), EFAULT, leaves_trace=True),
    Wrong(
        "bind_interdomain: read-only",
        read_only(connect(2, 1)),
        EFAULT,
        first=others_port(1),
        leaves_trace=True,
    ),
]
TABLE += [
    Wrong(f"{type_.name}: at {where:#x}", op(command, at=where), EFAULT)
    for command, type_ in STRUCTURES.items()
    for where in (UNMAPPED, CORE)
]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_a_dying_domain_opens_nothing(machine):
    """Not even for the toolstack."""
    guest(machine).domain.is_dying = 1
    address = machine.dom0.put(abi.evtchn_alloc_unbound, dom=1, remote_dom=0)
    call = (abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_alloc_unbound, address)
    assert machine.dom0.call(*call) == EINVAL


def test_the_toolstack_resets_a_paused_domain(machine):
    """Every port is closed, and the far end waits again."""
    port = opened(machine, other(machine), abi.EVTCHNOP_alloc_unbound, dom=SELF, remote_dom=1)
    fields = {"remote_dom": other(machine).id, "remote_port": port}
    opened(machine, guest(machine), abi.EVTCHNOP_bind_interdomain, **fields)
    domctl(machine.dom0, abi.XEN_DOMCTL_pausedomain, 1)
    address = machine.dom0.put(abi.evtchn_reset, dom=1)
    call = (abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_reset, address)
    assert machine.dom0.call(*call) == 0
    assert guest(machine).domain.evtchn.nr_active == 1
    channel = other(machine).domain.evtchn.pages[0].channels[port]
    assert (channel.state, channel.number) == (abi.EVTCHNSTAT_unbound, 1)
