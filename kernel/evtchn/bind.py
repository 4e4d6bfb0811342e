"""Opening event channels, and choosing the vCPU that each notifies."""

import abi
from kpy import Ptr, Result, Tainted, ok, require, trusted, u8, u16, u32, u64, zero

from kernel.evtchn.channel import (
    EVTCHNSTAT_reserved,
    channel_at,
    domain_vcpu,
    pair_lock,
    set_pending,
)
from kernel.evtchn.operations import event_channel_op
from kernel.evtchn.pirq import NR_PIRQS, pirq_ports
from kernel.evtchn.virq import virq_is_global
from kernel.frames.core_page import alloc_core_page
from kernel.irq.irq import pirq_bind
from kernel.sched.time import start_periodic_timer
from kernel.state.domain import Domain, DOMDYING_alive, get_domain_or_self
from kernel.state.evtchn_table import CHANNELS_PER_PAGE, EVTCHN_MAX_PORTS, Channel, ChannelPage
from kernel.state.vcpu import Vcpu


def init_evtchn(d: Ptr[Domain], max_port: Tainted[u32]) -> Result[None]:
    """Prepare the table of a new domain. Errors: -ENOMEM."""
    d.evtchn.max_ports = min(max_port, EVTCHN_MAX_PORTS - 1) + 1
    d.evtchn.first_free = 1
    with d.event_lock:
        require(add_channel_page(d), -abi.ENOMEM)
        set_channel(d, 0, EVTCHNSTAT_reserved, 0)


def add_channel_page(d: Ptr[Domain]) -> bool:
    """Make room for another page of ports. Returns: whether there was memory.

    Locks: the event lock, held.
    """
    address = alloc_core_page()
    require(address is not None, False)
    # A fresh core page belongs to us alone; zeroed, all its channels are closed.
    page = Ptr[ChannelPage](u64(address))
    zero(page)
    d.evtchn.pages[d.evtchn.nr_ports // CHANNELS_PER_PAGE] = page
    d.evtchn.nr_ports += CHANNELS_PER_PAGE
    return True


def get_free_port(d: Ptr[Domain]) -> Result[u32]:
    """Find a closed port. Locks: the event lock, held, and to be kept until the port has a state.

    Errors: -EINVAL, the domain is dying; -ENOSPC, all ports that it may have are open; -ENOMEM.
    """
    require(d.is_dying == DOMDYING_alive, -abi.EINVAL)
    for port in range(d.evtchn.first_free, d.evtchn.max_ports):
        if port == d.evtchn.nr_ports:
            require(add_channel_page(d), -abi.ENOMEM)
        channel = channel_at(d, port)
        if channel is not None and channel.state == abi.EVTCHNSTAT_closed:
            return port
    return -abi.ENOSPC


def set_channel(d: Ptr[Domain], port: u32, state: u32, number: u32) -> None:
    """Open the channel of a free port, bound to vCPU 0. Locks: the event lock, held."""
    channel = channel_at(d, port)
    assert channel is not None, "an event channel was opened outside the table"
    channel.state = u8(state)
    channel.number = number
    channel.notify_vcpu = 0
    channel.remote_domain = None
    if port == d.evtchn.first_free:
        d.evtchn.first_free += 1
    d.evtchn.nr_active += 1


@event_channel_op(abi.EVTCHNOP_alloc_unbound, result=True)
def evtchn_alloc_unbound(
    caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_alloc_unbound]]
) -> Result[None]:
    """Open a port of a domain that another may bind.

    Source: Xen public ABI, event_channel.h, evtchn_alloc_unbound.
    Errors: -ESRCH, no such domain; -EPERM, not the caller's own; those of `get_free_port`.
    """
    with get_domain_or_self(caller.domain, op.dom) as d:
        require(d is not None, -abi.ESRCH)
        require(d == caller.domain or caller.domain.is_privileged, -abi.EPERM)
        remote = op.remote_dom
        if remote == abi.DOMID_SELF:
            remote = u16(caller.domain.domain_id)
        with d.event_lock:
            op.port = ok(get_free_port(d))
            # Any number will do: who binds is compared with it
            set_channel(d, op.port, abi.EVTCHNSTAT_unbound, trusted(u32(remote)))


@event_channel_op(abi.EVTCHNOP_bind_interdomain, result=True)
def evtchn_bind_interdomain(
    caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_bind_interdomain]]
) -> Result[None]:
    """Connect a fresh port of the caller with an unbound port of a domain, which may be the same.
    The near port is pending at once, since signals to the unbound port were lost.

    Source: Xen public ABI, event_channel.h, evtchn_bind_interdomain.
    Errors: -ESRCH, no such domain; those of `get_free_port`; -EINVAL, the far port does not wait
    for this domain.
    """
    near = caller.domain
    with get_domain_or_self(near, op.remote_dom) as far:
        require(far is not None, -abi.ESRCH)
        with pair_lock, near.event_lock:
            if near == far:
                op.local_port = ok(connect(near, far, op.remote_port))
                return
            with far.event_lock:
                op.local_port = ok(connect(near, far, op.remote_port))


def connect(near: Ptr[Domain], far: Ptr[Domain], far_port: Tainted[u32]) -> Result[u32]:
    """Do the work of `evtchn_bind_interdomain`. Returns: the near port.

    Locks: both event locks, held.
    """
    port = ok(get_free_port(near))
    far_channel = channel_at(far, far_port)
    require(far_channel is not None, -abi.EINVAL)
    require(far_channel.state == abi.EVTCHNSTAT_unbound, -abi.EINVAL)
    require(far_channel.number == u32(near.domain_id), -abi.EINVAL)
    set_channel(near, port, abi.EVTCHNSTAT_interdomain, trusted(far_port))  # it has a channel
    near_channel = channel_at(near, port)
    if near_channel is not None:
        near_channel.remote_domain = far
    far_channel.state = abi.EVTCHNSTAT_interdomain
    far_channel.number = port
    far_channel.remote_domain = near
    set_pending(near, 0, port)
    return port


@event_channel_op(abi.EVTCHNOP_bind_virq, result=True)
def evtchn_bind_virq(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_bind_virq]]) -> Result[None]:
    """Open a port for a virtual interrupt.

    Source: Xen public ABI, event_channel.h, evtchn_bind_virq.
    Errors: -EINVAL, no such VIRQ, or a global one not on vCPU 0; -ENOENT, no such vCPU; -EEXIST,
    bound already; those of `get_free_port`.
    """
    d, virq = caller.domain, op.virq
    require(virq < abi.NR_VIRQS, -abi.EINVAL)
    require(op.vcpu == 0 or not virq_is_global(virq), -abi.EINVAL)
    v = domain_vcpu(d, op.vcpu)
    require(v is not None, -abi.ENOENT)
    with d.event_lock:
        require(v.virq_ports[virq] == 0, -abi.EEXIST)
        op.port = ok(open_on_vcpu(d, abi.EVTCHNSTAT_virq, virq, v))
        v.virq_ports[virq] = op.port
    if virq == abi.VIRQ_TIMER:
        start_periodic_timer(v)


@event_channel_op(abi.EVTCHNOP_bind_ipi, result=True)
def evtchn_bind_ipi(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_bind_ipi]]) -> Result[None]:
    """Open a port by which the domain signals one of its own vCPUs.

    Source: Xen public ABI, event_channel.h, evtchn_bind_ipi.
    Errors: -ENOENT, no such vCPU; those of `get_free_port`.
    """
    v = domain_vcpu(caller.domain, op.vcpu)
    require(v is not None, -abi.ENOENT)
    with caller.domain.event_lock:
        op.port = ok(open_on_vcpu(caller.domain, abi.EVTCHNSTAT_ipi, 0, v))


def open_on_vcpu(d: Ptr[Domain], state: u32, number: u32, v: Ptr[Vcpu]) -> Result[u32]:
    """Open a fresh port that notifies `v`. Returns: the port. Locks: the event lock, held."""
    port = ok(get_free_port(d))
    set_channel(d, port, state, number)
    channel = channel_at(d, port)
    if channel is not None:
        channel.notify_vcpu = u16(v.vcpu_id)
    return port


@event_channel_op(abi.EVTCHNOP_bind_pirq, result=True)
def evtchn_bind_pirq(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_bind_pirq]]) -> Result[None]:
    """Open a port for a physical interrupt.

    Source: Xen public ABI, event_channel.h, evtchn_bind_pirq.
    Errors: -EINVAL, no such interrupt; -EPERM, not for this domain; -EEXIST, bound already; those
    of `get_free_port` and of `pirq_bind`.
    """
    d, pirq = caller.domain, op.pirq
    require(pirq < NR_PIRQS, -abi.EINVAL)
    v = d.vcpus[0]
    require(d.is_privileged and v is not None, -abi.EPERM)
    with d.event_lock:
        require(pirq_ports[pirq] == 0, -abi.EEXIST)
        port = ok(get_free_port(d))
        ok(pirq_bind(d, pirq, v))
        set_channel(d, port, abi.EVTCHNSTAT_pirq, pirq)
        pirq_ports[pirq] = port
        op.port = port


@event_channel_op(abi.EVTCHNOP_bind_vcpu)
def evtchn_bind_vcpu(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_bind_vcpu]]) -> Result[None]:
    """Choose the vCPU that a port notifies.

    Source: Xen public ABI, event_channel.h, evtchn_bind_vcpu.
    Errors: -ENOENT, no such vCPU; -EINVAL, no such port, or one whose vCPU is fixed: IPIs and
    per-vCPU VIRQs.
    """
    v = domain_vcpu(caller.domain, op.vcpu)
    require(v is not None, -abi.ENOENT)
    with caller.domain.event_lock:
        channel = channel_at(caller.domain, op.port)
        require(channel is not None and may_rebind(channel), -abi.EINVAL)
        channel.notify_vcpu = u16(v.vcpu_id)


def may_rebind(channel: Ptr[Channel]) -> bool:
    """Tell whether the vCPU of a channel can be chosen."""
    match channel.state:
        case abi.EVTCHNSTAT_unbound | abi.EVTCHNSTAT_interdomain | abi.EVTCHNSTAT_pirq:
            return True
        case abi.EVTCHNSTAT_virq:
            return virq_is_global(channel.number)
        case _:
            return False
