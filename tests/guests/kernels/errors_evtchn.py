"""event_channel_op with bad arguments."""

import abi
from kpy import i64, ref, u32, u64

from libos.event import alloc_unbound, bind_virq, close_port
from libos.hypercall import event_channel_op, hypercall
from tests.guests.kernels.bad import HYPERVISOR, NO_DOMAIN, UNMAPPED
from tests.guests.kernels.report import expect

NO_PORT = 4000
NO_VCPU = 99


def raw(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_event_channel_op, command, argument, 0, 0, 0)


def send(port: u32) -> i64:
    operation = abi.evtchn_send(port=port)
    return event_channel_op(abi.EVTCHNOP_send, ref(operation))


def close(port: u32) -> i64:
    operation = abi.evtchn_close(port=port)
    return event_channel_op(abi.EVTCHNOP_close, ref(operation))


def bind_virq_to(virq: u32, vcpu: u32) -> i64:
    operation = abi.evtchn_bind_virq(virq=virq, vcpu=vcpu)
    return event_channel_op(abi.EVTCHNOP_bind_virq, ref(operation))


def test_event_channels() -> None:
    expect(b"evtchn: unknown command", raw(99, 0), -abi.ENOSYS)
    expect(b"evtchn: unmapped argument", raw(abi.EVTCHNOP_send, UNMAPPED), -abi.EFAULT)
    expect(b"evtchn: hypervisor address", raw(abi.EVTCHNOP_bind_ipi, HYPERVISOR), -abi.EFAULT)
    expect(b"evtchn: send, closed", send(NO_PORT), -abi.EINVAL)
    expect(b"evtchn: send, beyond the last port", send(1 << 20), -abi.EINVAL)
    expect(b"evtchn: close, closed", close(NO_PORT), -abi.EINVAL)
    expect(b"evtchn: close, port 0", close(0), -abi.EINVAL)
    expect(b"evtchn: bind_virq, no such virq", bind_virq_to(abi.NR_VIRQS, 0), -abi.EINVAL)
    expect(b"evtchn: bind_virq, no such vcpu", bind_virq_to(abi.VIRQ_TIMER, NO_VCPU), -abi.ENOENT)
    expect(b"evtchn: bind_virq, bound", bind_virq_to(abi.VIRQ_TIMER, 0), -abi.EEXIST)
    test_connections()
    test_placement()


def test_connections() -> None:
    alloc = abi.evtchn_alloc_unbound(dom=NO_DOMAIN, remote_dom=0)
    result = event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(alloc))
    expect(b"evtchn: alloc_unbound, no such domain", result, -abi.ESRCH)
    bind = abi.evtchn_bind_interdomain(remote_dom=NO_DOMAIN)
    result = event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(bind))
    expect(b"evtchn: bind_interdomain, no such domain", result, -abi.ESRCH)
    bind.remote_dom = abi.DOMID_SELF
    bind.remote_port = NO_PORT
    result = event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(bind))
    expect(b"evtchn: bind_interdomain, closed", result, -abi.EINVAL)
    port = alloc_unbound(abi.DOMID_SELF)
    bind.remote_port = port
    result = event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(bind))
    expect(b"evtchn: bind_interdomain to itself", result, 0)
    result = event_channel_op(abi.EVTCHNOP_bind_interdomain, ref(bind))
    expect(b"evtchn: bind_interdomain, taken", result, -abi.EINVAL)
    close_port(bind.local_port)
    status = abi.evtchn_status(dom=abi.DOMID_SELF, port=port)
    expect(b"evtchn: status", event_channel_op(abi.EVTCHNOP_status, ref(status)), 0)
    expect(b"evtchn: status is unbound again", i64(status.status), abi.EVTCHNSTAT_unbound)
    close_port(port)
    expect(b"evtchn: status, after close", event_channel_op(abi.EVTCHNOP_status, ref(status)), 0)
    expect(b"evtchn: status is closed", i64(status.status), abi.EVTCHNSTAT_closed)


def test_placement() -> None:
    ipi = abi.evtchn_bind_ipi(vcpu=NO_VCPU)
    expect(b"evtchn: bind_ipi", event_channel_op(abi.EVTCHNOP_bind_ipi, ref(ipi)), -abi.ENOENT)
    move = abi.evtchn_bind_vcpu(port=NO_PORT, vcpu=0)
    result = event_channel_op(abi.EVTCHNOP_bind_vcpu, ref(move))
    expect(b"evtchn: bind_vcpu, closed", result, -abi.EINVAL)
    port = bind_virq(abi.VIRQ_DEBUG)
    move.port = port
    result = event_channel_op(abi.EVTCHNOP_bind_vcpu, ref(move))
    expect(b"evtchn: bind_vcpu, a vCPU's own virq", result, -abi.EINVAL)
    move.vcpu = NO_VCPU
    result = event_channel_op(abi.EVTCHNOP_bind_vcpu, ref(move))
    expect(b"evtchn: bind_vcpu, no such vcpu", result, -abi.ENOENT)
    close_port(port)
    unmask = abi.evtchn_unmask(port=1 << 20)
    result = event_channel_op(abi.EVTCHNOP_unmask, ref(unmask))
    expect(b"evtchn: unmask, beyond the last port", result, -abi.EINVAL)
