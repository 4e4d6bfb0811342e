"""Event channels that do not exist or belong to others."""

import abi
from kpy import i64, ref

from libos.hypercall import event_channel_op, hypercall
from tests.guests.kernels.probes.ground import CORE_ADDRESS, WILD_ADDRESS
from tests.guests.kernels.probes.registry import Probes

NO_DOMAIN = 0x1234
NO_PORT = 5000
NO_VCPU = 77
NO_VIRQ = 99
EVTCHN_BAD_COMMAND = 77

probes = Probes()


@probes.probe
def send_on_port_0() -> i64:
    op = abi.evtchn_send(port=0)
    return event_channel_op(abi.EVTCHNOP_send, ref(op))


@probes.probe
def send_on_missing_port() -> i64:
    op = abi.evtchn_send(port=NO_PORT)
    return event_channel_op(abi.EVTCHNOP_send, ref(op))


@probes.probe
def close_port_0() -> i64:
    op = abi.evtchn_close(port=0)
    return event_channel_op(abi.EVTCHNOP_close, ref(op))


@probes.probe
def close_missing_port() -> i64:
    op = abi.evtchn_close(port=NO_PORT)
    return event_channel_op(abi.EVTCHNOP_close, ref(op))


@probes.probe
def bind_to_missing_domain() -> i64:
    op = abi.evtchn_bind_interdomain(remote_dom=NO_DOMAIN, remote_port=1)
    return event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(op))


@probes.probe
def bind_to_strange_port() -> i64:
    op = abi.evtchn_bind_interdomain(remote_dom=abi.DOMID_SELF, remote_port=NO_PORT)
    return event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(op))


@probes.probe
def bind_missing_virq() -> i64:
    op = abi.evtchn_bind_virq(virq=NO_VIRQ, vcpu=0)
    return event_channel_op(abi.EVTCHNOP_bind_virq, ref(op))


@probes.probe
def bind_virq_to_missing_vcpu() -> i64:
    op = abi.evtchn_bind_virq(virq=abi.VIRQ_DEBUG, vcpu=NO_VCPU)
    return event_channel_op(abi.EVTCHNOP_bind_virq, ref(op))


@probes.probe
def bind_timer_twice() -> i64:
    op = abi.evtchn_bind_virq(virq=abi.VIRQ_TIMER, vcpu=0)
    return event_channel_op(abi.EVTCHNOP_bind_virq, ref(op))


@probes.probe
def bind_interrupt() -> i64:
    op = abi.evtchn_bind_pirq(pirq=9)
    return event_channel_op(abi.EVTCHNOP_bind_pirq, ref(op))


@probes.probe
def bind_ipi_to_missing_vcpu() -> i64:
    op = abi.evtchn_bind_ipi(vcpu=NO_VCPU)
    return event_channel_op(abi.EVTCHNOP_bind_ipi, ref(op))


@probes.probe
def move_missing_port() -> i64:
    op = abi.evtchn_bind_vcpu(port=NO_PORT, vcpu=0)
    return event_channel_op(abi.EVTCHNOP_bind_vcpu, ref(op))


@probes.probe
def unmask_missing_port() -> i64:
    op = abi.evtchn_unmask(port=NO_PORT)
    return event_channel_op(abi.EVTCHNOP_unmask, ref(op))


@probes.probe
def status_of_missing_domain() -> i64:
    op = abi.evtchn_status(dom=NO_DOMAIN, port=1)
    return event_channel_op(abi.EVTCHNOP_status, ref(op))


@probes.probe
def allocate_for_missing_domain() -> i64:
    op = abi.evtchn_alloc_unbound(dom=NO_DOMAIN, remote_dom=0)
    return event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(op))


@probes.probe
def event_op_at_wild_address() -> i64:
    number = abi.__HYPERVISOR_event_channel_op
    return hypercall(number, abi.EVTCHNOP_send, WILD_ADDRESS, 0, 0, 0)


@probes.probe
def event_op_in_the_core() -> i64:
    number = abi.__HYPERVISOR_event_channel_op
    return hypercall(number, abi.EVTCHNOP_status, CORE_ADDRESS, 0, 0, 0)


@probes.probe
def bad_event_command() -> i64:
    op = abi.evtchn_send(port=1)
    return event_channel_op(EVTCHN_BAD_COMMAND, ref(op))
