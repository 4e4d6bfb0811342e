"""Closing event channels: one by one, all of a domain on its own request, and all when it dies."""

import abi
from kpy import (
    Guest,
    Ptr,
    Result,
    Tainted,
    atomic_load,
    i64,
    ok,
    ref,
    require,
    trusted,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest
from kernel.base.ids import Vaddr
from kernel.evtchn.channel import EVTCHNSTAT_reserved, channel_at, clear_pending, pair_lock
from kernel.evtchn.operations import event_channel_op
from kernel.evtchn.pirq import pirq_ports
from kernel.frames.core_page import free_core_page
from kernel.irq.irq import pirq_unbind
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, get_domain_or_self
from kernel.state.evtchn_table import CHANNEL_PAGES, Channel
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

UNUSED = (abi.EVTCHNSTAT_closed, EVTCHNSTAT_reserved)


@event_channel_op(abi.EVTCHNOP_close)
def evtchn_close(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.evtchn_close]]) -> i64:
    """Close a port.

    Source: Xen public ABI, event_channel.h, evtchn_close. Errors: -EINVAL, the port is not open.
    """
    return close_port(caller.domain, op.port)


def close_port(d: Ptr[Domain], port: Tainted[u32]) -> i64:
    """Do the work of `evtchn_close`.

    The far end of an interdomain channel becomes unbound, waiting for this domain again.
    """
    with pair_lock:
        with d.event_lock:
            channel = channel_at(d, port)
            require(channel is not None, -abi.EINVAL)
            require(channel.state not in UNUSED, -abi.EINVAL)
            port = trusted(port)  # it has a channel
            remote = channel.remote_domain
            if remote is None or remote == d:
                sever(d, channel)
                release(d, port, channel)
                return 0
        # pair_lock keeps the connection as it is while we take both locks, the far one for the
        # first time
        with d.event_lock, remote.event_lock:
            sever(d, channel)
            release(d, port, channel)
    return 0


def sever(d: Ptr[Domain], channel: Ptr[Channel]) -> None:
    """Let the far end of an interdomain channel wait for `d` again.

    Locks: both event locks, held.
    """
    remote = channel.remote_domain
    if remote is None:
        return
    far = channel_at(remote, channel.number)
    if far is not None:
        far.state = abi.EVTCHNSTAT_unbound
        far.number = u32(d.domain_id)
        far.remote_domain = None


def release(d: Ptr[Domain], port: u32, channel: Ptr[Channel]) -> None:
    """Undo what a channel was bound to, and close it. Locks: the event lock, held."""
    match channel.state:
        case abi.EVTCHNSTAT_virq:
            unbind_virq(d, port, channel)
        case abi.EVTCHNSTAT_pirq:
            pirq_ports[channel.number] = 0
            pirq_unbind(channel.number)
        case _:
            pass
    channel.state = abi.EVTCHNSTAT_closed
    channel.remote_domain = None
    channel.notify_vcpu = 0
    clear_pending(d, port)
    d.evtchn.nr_active -= 1
    d.evtchn.first_free = min(d.evtchn.first_free, port)


def unbind_virq(d: Ptr[Domain], port: u32, channel: Ptr[Channel]) -> None:
    """Forget the port of a VIRQ.

    A global one may notify another vCPU than the one, 0, that records it.
    """
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None and v.virq_ports[channel.number] == port:
            v.virq_ports[channel.number] = 0


def evtchn_close_all(d: Ptr[Domain]) -> i64:
    """Close every port of a domain.

    Returns: 0, or -ERESTART to be called again for the rest.
    """
    port: u32 = 1
    while port < d.evtchn.nr_ports:  # read again: somebody may just have been opening one
        if is_open(d, port):
            close_port(d, port)
            require(not preempt_pending(), -abi.ERESTART)
        port += 1
    return 0


def is_open(d: Ptr[Domain], port: u32) -> bool:
    """Tell whether a port is in use."""
    with d.event_lock:
        channel = channel_at(d, port)
        return channel is not None and channel.state != abi.EVTCHNSTAT_closed


@event_channel_op(abi.EVTCHNOP_reset)
def evtchn_reset(caller: Ptr[Vcpu], arg: Guest[abi.evtchn_reset]) -> i64:
    """Close every port of a domain at its own request, or at the toolstack's while it is paused.

    Source: Xen public ABI, event_channel.h, evtchn_reset.
    Errors: -EFAULT; -ESRCH, no such domain; -EPERM; -EINVAL, not paused; -ERESTART, more to do.
    """
    op = uninitialized(Tainted[abi.evtchn_reset])
    require(copy_from_guest(ref(op), arg), -abi.EFAULT)
    with get_domain_or_self(caller.domain, op.dom) as d:
        require(d is not None, -abi.ESRCH)
        ok(may_reset(caller.domain, d))
        if evtchn_close_all(d) == -abi.ERESTART:
            return hypercall_continue(caller, abi.EVTCHNOP_reset, arg.address(), 0, 0)
    return 0


def may_reset(caller: Ptr[Domain], d: Ptr[Domain]) -> Result[None]:
    """Check the right of `evtchn_reset`. Errors: -EPERM; -EINVAL, not paused."""
    require(caller == d or caller.is_privileged, -abi.EPERM)
    require(caller == d or atomic_load(ref(d.controller_pause_count)) != 0, -abi.EINVAL)


def free_evtchn_table(d: Ptr[Domain]) -> None:
    """Free the pages of a table whose channels are all closed."""
    for i in range(CHANNEL_PAGES):
        page = d.evtchn.pages[i]
        if page is not None:
            d.evtchn.pages[i] = None
            free_core_page(Vaddr(u64(page)))
