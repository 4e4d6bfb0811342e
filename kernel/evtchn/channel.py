"""Event channels: the way one domain, or the core, signals another.

Lookup, signalling, and what a guest asks of a port.

The two-level ABI: a pending and a mask bit for each port in the shared info page, and for each vCPU
a selector word with a bit per word of pending bits. All are changed by guests at any time: so only
single atomic operations, and nothing read twice.

Locks: a domain's event lock guards its channels. What changes both ends of an interdomain channel
takes both event locks, under `pair_lock` so that two such never wait for each other. So the near
end's lock suffices to signal the far end.
"""

import abi
from kpy import (
    Ptr,
    Result,
    Tainted,
    atomic_and,
    atomic_load,
    atomic_or,
    atomic_xchg,
    bit,
    i64,
    inline,
    noinline,
    ok,
    ref,
    require,
    static,
    trusted,
    u16,
    u32,
    u64,
)

from kernel.base.spinlock import SpinLock
from kernel.evtchn.operations import event_channel_op
from kernel.sched.wake import vcpu_kick, vcpu_unblock
from kernel.state.domain import Domain, get_domain_or_self
from kernel.state.evtchn_table import CHANNELS_PER_PAGE, Channel
from kernel.state.vcpu import MAX_VCPUS, Vcpu
from kernel.trace.record import trace_2, trace_3

EVTCHNSTAT_reserved = 255  # not in the ABI: port 0, which is never given out

pair_lock = static(SpinLock)


@inline
def channel_at(d: Ptr[Domain], port: Tainted[u32]) -> Ptr[Channel] | None:
    """Return the channel of a port, None for a port that has none yet.

    Locks: the domain's event lock, held.
    """
    if port >= d.evtchn.nr_ports:
        return None
    page = d.evtchn.pages[port // CHANNELS_PER_PAGE]
    if page is None:
        return None
    return ref(page.channels[port % CHANNELS_PER_PAGE])


@inline
def set_pending(d: Ptr[Domain], vcpu_id: u32, port: u32) -> None:
    """Mark a port pending, and alert the vCPU to which it is bound unless the guest masks the port.

    Each step is taken by whoever finds the bit clear, so an event costs one atomic operation while
    another is pending.
    """
    trace_3(abi.TRC_PROXEN_EVTCHN_PENDING, u32(d.domain_id), vcpu_id, port)
    shared = d.shared_info
    word = port // 64
    mask = bit(u64(port % 64))
    if atomic_or(ref(shared.evtchn_pending[word]), mask) & mask:
        return
    if atomic_load(ref(shared.evtchn_mask[word])) & mask == 0:
        raise_upcall(d, vcpu_id, word)
    if d.evtchn.polling_vcpus != 0:
        wake_pollers(d, port)


@inline
def raise_upcall(d: Ptr[Domain], vcpu_id: u32, word: u32) -> None:
    """Set a word's bit in a vCPU's selector, and the flag that demands an upcall.

    Kick the vCPU if that was clear.
    """
    v = d.vcpus[vcpu_id]
    if v is None:
        return
    info = v.vcpu_info
    mask = bit(u64(word))
    if atomic_or(ref(info.evtchn_pending_sel), mask) & mask:
        return
    if atomic_xchg(ref(info.evtchn_upcall_pending), 1) == 0:
        vcpu_kick(v)


@noinline
def wake_pollers(d: Ptr[Domain], port: u32) -> None:
    """Wake the vCPUs that wait for this port, or for any, in SCHEDOP_poll."""
    for i in range(MAX_VCPUS):
        mask = bit(u64(i))
        if atomic_load(ref(d.evtchn.polling_vcpus)) & mask == 0:
            continue
        v = d.vcpus[i]
        if v is None or v.poll_port not in (0, port):
            continue
        if atomic_and(ref(d.evtchn.polling_vcpus), ~mask) & mask:
            v.poll_port = 0
            vcpu_unblock(v)


@inline
def is_pending(d: Ptr[Domain], port: u32) -> bool:
    """Tell whether a port is pending, masked or not."""
    return atomic_load(ref(d.shared_info.evtchn_pending[port // 64])) & bit(u64(port % 64)) != 0


@inline
def clear_pending(d: Ptr[Domain], port: u32) -> None:
    """Forget an event."""
    atomic_and(ref(d.shared_info.evtchn_pending[port // 64]), ~bit(u64(port % 64)))


@event_channel_op(abi.EVTCHNOP_send)
def evtchn_send(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_send]]) -> i64:
    """Signal the far end of an event channel; an unbound channel swallows the signal.

    Source: Xen public ABI, event_channel.h, evtchn_send.
    Errors: -EINVAL, the port is closed or takes no signal from the guest.
    Locks: takes the near domain's event lock; the far end cannot close under it.
    """
    d, port = caller.domain, op.port
    trace_2(abi.TRC_PROXEN_EVTCHN_SEND, u32(d.domain_id), port)
    with d.event_lock:
        channel = channel_at(d, port)
        require(channel is not None, -abi.EINVAL)
        port = trusted(port)  # it has a channel
        match channel.state:
            case abi.EVTCHNSTAT_interdomain:
                return signal_far_end(channel)
            case abi.EVTCHNSTAT_ipi:
                set_pending(d, u32(channel.notify_vcpu), port)
            case abi.EVTCHNSTAT_unbound:
                pass
            case _:
                return -abi.EINVAL
    return 0


@inline
def signal_far_end(channel: Ptr[Channel]) -> i64:
    """Set the remote port of an interdomain channel pending."""
    remote = channel.remote_domain
    require(remote is not None, -abi.EINVAL)
    far = channel_at(remote, channel.number)
    require(far is not None, -abi.EINVAL)
    set_pending(remote, u32(far.notify_vcpu), channel.number)
    return 0


@event_channel_op(abi.EVTCHNOP_unmask)
def evtchn_unmask(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_unmask]]) -> i64:
    """Clear a port's mask bit, and alert its vCPU if it is pending.

    Source: Xen public ABI, event_channel.h, evtchn_unmask.
    Errors: -EINVAL, no such port. Locks: takes the domain's event lock.
    """
    d, port = caller.domain, op.port
    with d.event_lock:
        channel = channel_at(d, port)
        require(channel is not None, -abi.EINVAL)
        if channel.state in (abi.EVTCHNSTAT_closed, EVTCHNSTAT_reserved):
            return 0
        port = trusted(port)  # it has a channel
        mask = bit(u64(port % 64))
        was_masked = atomic_and(ref(d.shared_info.evtchn_mask[port // 64]), ~mask) & mask != 0
        if was_masked and is_pending(d, port):
            raise_upcall(d, u32(channel.notify_vcpu), port // 64)
    return 0


@event_channel_op(abi.EVTCHNOP_status, result=True)
def evtchn_status(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_status]]) -> i64:
    """Describe a port of a domain.

    Source: Xen public ABI, event_channel.h, evtchn_status.
    Errors: -ESRCH, no such domain; -EINVAL, no such port; -EPERM, not the caller's own.
    Locks: takes the domain's event lock.
    """
    with get_domain_or_self(caller.domain, op.dom) as d:
        require(d is not None, -abi.ESRCH)
        ok(describe(d, op))
        require(d == caller.domain or caller.domain.is_privileged, -abi.EPERM)
    return 0


def describe(d: Ptr[Domain], status: Ptr[Tainted[abi.evtchn_status]]) -> Result[None]:
    """Do the work of `evtchn_status`. Errors: -EINVAL, no such port."""
    with d.event_lock:
        channel = channel_at(d, status.port)
        require(channel is not None, -abi.EINVAL)
        status.status = u32(channel.state)
        match channel.state:
            case abi.EVTCHNSTAT_unbound:
                status.u.unbound.dom = u16(channel.number)
            case abi.EVTCHNSTAT_interdomain:
                status.u.interdomain.dom = remote_id(channel)
                status.u.interdomain.port = channel.number
            case abi.EVTCHNSTAT_pirq | abi.EVTCHNSTAT_virq:
                status.u.virq = channel.number
            case abi.EVTCHNSTAT_ipi:
                pass
            case _:
                status.status = abi.EVTCHNSTAT_closed
        status.vcpu = u32(channel.notify_vcpu)


def remote_id(channel: Ptr[Channel]) -> u16:
    """Return the id of the domain at the far end."""
    assert channel.remote_domain is not None, "an interdomain channel has lost its far end"
    return u16(channel.remote_domain.domain_id)


def domain_vcpu(d: Ptr[Domain], vcpu_id: Tainted[u32]) -> Ptr[Vcpu] | None:
    """Return a vCPU by the number that a guest gives, None when there is none."""
    if vcpu_id >= d.max_vcpus:
        return None
    return d.vcpus[vcpu_id]
