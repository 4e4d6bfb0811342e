"""Opening event channels, and choosing the vCPU that each notifies."""

import abi
from kpy import Ptr, i64, u8, u16, u32, u64, zero

from kernel.base.ids import DomId
from kernel.evtchn.channel import (
    EVTCHNSTAT_reserved,
    channel_at,
    domain_vcpu,
    pair_lock,
    set_pending,
)
from kernel.evtchn.pirq import NR_PIRQS, pirq_ports
from kernel.evtchn.virq import virq_is_global
from kernel.frames.core_page import alloc_core_page
from kernel.irq.irq import pirq_bind
from kernel.sched.time import start_periodic_timer
from kernel.state.domain import Domain, DOMDYING_alive
from kernel.state.evtchn_table import CHANNELS_PER_PAGE, EVTCHN_MAX_PORTS, Channel, ChannelPage
from kernel.state.vcpu import Vcpu


def init_evtchn(d: Ptr[Domain], max_port: u32) -> i64:
    """Prepare the table of a new domain. Errors: -ENOMEM."""
    d.evtchn.max_ports = min(max_port, EVTCHN_MAX_PORTS - 1) + 1
    d.evtchn.first_free = 1
    with d.event_lock:
        if not add_channel_page(d):
            return -abi.ENOMEM
        set_channel(d, 0, EVTCHNSTAT_reserved, 0)
    return 0


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


def get_free_port(d: Ptr[Domain]) -> i64:
    """Find a closed port. Locks: the event lock, held, and to be kept until the port has a state.

    Errors: -EINVAL, the domain is dying; -ENOSPC, all ports that it may have are open; -ENOMEM.
    """
    if d.is_dying != DOMDYING_alive:
        return -abi.EINVAL
    for port in range(d.evtchn.first_free, d.evtchn.max_ports):
        if port == d.evtchn.nr_ports and not add_channel_page(d):
            return -abi.ENOMEM
        channel = channel_at(d, port)
        if channel is not None and channel.state == abi.EVTCHNSTAT_closed:
            return i64(port)
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


def alloc_unbound_port(d: Ptr[Domain], remote: DomId) -> i64:
    """Open a port of `d` that domain `remote` may bind. Returns: the port.

    Errors: those of `get_free_port`.
    """
    with d.event_lock:
        port = get_free_port(d)
        if port >= 0:
            set_channel(d, u32(port), abi.EVTCHNSTAT_unbound, u32(remote))
    return port


def evtchn_bind_interdomain(near: Ptr[Domain], far: Ptr[Domain], far_port: u32) -> i64:
    """Connect a fresh port of `near` with an unbound port of `far`, which may be the same domain.

    Source: Xen public ABI, event_channel.h, evtchn_bind_interdomain. Returns: the near port,
    pending at once, since signals to the unbound port were lost. Errors: those of `get_free_port`;
    -EINVAL, the far port does not wait for this domain.
    """
    with pair_lock:
        if near == far:
            with near.event_lock:
                return connect(near, far, far_port)
        with near.event_lock, far.event_lock:
            return connect(near, far, far_port)


def connect(near: Ptr[Domain], far: Ptr[Domain], far_port: u32) -> i64:
    """Do the work of `evtchn_bind_interdomain`. Locks: both event locks, held."""
    port = get_free_port(near)
    if port < 0:
        return port
    far_channel = channel_at(far, far_port)
    if far_channel is None:
        return -abi.EINVAL
    if far_channel.state != abi.EVTCHNSTAT_unbound or far_channel.number != u32(near.domain_id):
        return -abi.EINVAL
    set_channel(near, u32(port), abi.EVTCHNSTAT_interdomain, far_port)
    near_channel = channel_at(near, u32(port))
    if near_channel is not None:
        near_channel.remote_domain = far
    far_channel.state = abi.EVTCHNSTAT_interdomain
    far_channel.number = u32(port)
    far_channel.remote_domain = near
    set_pending(near, 0, u32(port))
    return port


def evtchn_bind_virq(d: Ptr[Domain], virq: u32, vcpu_id: u32) -> i64:
    """Open a port for a virtual interrupt.

    Source: Xen public ABI, event_channel.h, evtchn_bind_virq. Returns: the port.
    Errors: -EINVAL, no such VIRQ, or a global one not on vCPU 0; -ENOENT, no such vCPU; -EEXIST,
    bound already; those of `get_free_port`.
    """
    if virq >= abi.NR_VIRQS or (virq_is_global(virq) and vcpu_id != 0):
        return -abi.EINVAL
    v = domain_vcpu(d, vcpu_id)
    if v is None:
        return -abi.ENOENT
    with d.event_lock:
        if v.virq_ports[virq] != 0:
            return -abi.EEXIST
        port = open_on_vcpu(d, abi.EVTCHNSTAT_virq, virq, v)
        if port >= 0:
            v.virq_ports[virq] = u32(port)
    if port >= 0 and virq == abi.VIRQ_TIMER:
        start_periodic_timer(v)
    return port


def evtchn_bind_ipi(d: Ptr[Domain], vcpu_id: u32) -> i64:
    """Open a port by which the domain signals one of its own vCPUs.

    Source: Xen public ABI, event_channel.h, evtchn_bind_ipi. Returns: the port.
    Errors: -ENOENT, no such vCPU; those of `get_free_port`.
    """
    v = domain_vcpu(d, vcpu_id)
    if v is None:
        return -abi.ENOENT
    with d.event_lock:
        return open_on_vcpu(d, abi.EVTCHNSTAT_ipi, 0, v)


def open_on_vcpu(d: Ptr[Domain], state: u32, number: u32, v: Ptr[Vcpu]) -> i64:
    """Open a fresh port that notifies `v`. Returns: the port. Locks: the event lock, held."""
    port = get_free_port(d)
    if port < 0:
        return port
    set_channel(d, u32(port), state, number)
    channel = channel_at(d, u32(port))
    if channel is not None:
        channel.notify_vcpu = u16(v.vcpu_id)
    return port


def evtchn_bind_pirq(d: Ptr[Domain], pirq: u32) -> i64:
    """Open a port for a physical interrupt.

    Source: Xen public ABI, event_channel.h, evtchn_bind_pirq. Returns: the port.
    Errors: -EINVAL, no such interrupt; -EPERM, not for this domain; -EEXIST, bound already; those
    of `get_free_port` and of `pirq_bind`.
    """
    if pirq >= NR_PIRQS:
        return -abi.EINVAL
    v = d.vcpus[0]
    if not d.is_privileged or v is None:
        return -abi.EPERM
    with d.event_lock:
        if pirq_ports[pirq] != 0:
            return -abi.EEXIST
        port = get_free_port(d)
        if port < 0:
            return port
        error = pirq_bind(d, pirq, v)
        if error < 0:
            return error
        set_channel(d, u32(port), abi.EVTCHNSTAT_pirq, pirq)
        pirq_ports[pirq] = u32(port)
    return port


def evtchn_bind_vcpu(d: Ptr[Domain], port: u32, vcpu_id: u32) -> i64:
    """Choose the vCPU that a port notifies.

    Source: Xen public ABI, event_channel.h, evtchn_bind_vcpu.
    Errors: -ENOENT, no such vCPU; -EINVAL, no such port, or one whose vCPU is fixed: IPIs and
    per-vCPU VIRQs.
    """
    v = domain_vcpu(d, vcpu_id)
    if v is None:
        return -abi.ENOENT
    with d.event_lock:
        channel = channel_at(d, port)
        if channel is None or not may_rebind(channel):
            return -abi.EINVAL
        channel.notify_vcpu = u16(v.vcpu_id)
    return 0


def may_rebind(channel: Ptr[Channel]) -> bool:
    """Tell whether the vCPU of a channel can be chosen."""
    match channel.state:
        case abi.EVTCHNSTAT_unbound | abi.EVTCHNSTAT_interdomain | abi.EVTCHNSTAT_pirq:
            return True
        case abi.EVTCHNSTAT_virq:
            return virq_is_global(channel.number)
        case _:
            return False
