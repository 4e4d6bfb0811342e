"""SCHEDOP_poll: wait for one of some event channels, even masked ones, or a timeout."""

import abi
from kpy import (
    Guest,
    Ptr,
    Result,
    Tainted,
    atomic_and,
    atomic_load,
    atomic_or,
    bit,
    container_of,
    i64,
    ref,
    require,
    trusted,
    u32,
    u64,
)

from kernel.base.guest_memory import copy_from_guest, guest_array_okay
from kernel.evtchn.channel import EVTCHNSTAT_reserved, channel_at, is_pending
from kernel.sched.operations import sched_op
from kernel.sched.timer_heap import init_timer, set_timer
from kernel.sched.wake import has_event, vcpu_unblock
from kernel.state.domain import Domain
from kernel.state.timer import Timer
from kernel.state.vcpu import Vcpu, VPF_blocked
from kernel.x86.percpu import this_cpu

MAX_POLLED_PORTS = 128


@sched_op(abi.SCHEDOP_poll)
def sched_poll(v: Ptr[Vcpu], op: Ptr[Tainted[abi.sched_poll]]) -> Result[None]:
    """Block the caller until one of its ports is pending, another event comes, or time is up.

    Source: Xen public ABI, sched.h, sched_poll.
    Errors: -EFAULT; -EINVAL, more than 128 ports, or a closed one.
    """
    nr_ports = op.nr_ports
    require(nr_ports <= MAX_POLLED_PORTS, -abi.EINVAL)
    require(guest_array_okay(op.ports, u64(nr_ports)), -abi.EFAULT)
    start_polling(v)
    may_sleep, result, only_port = look_at_ports(v, op.ports, nr_ports)
    if not may_sleep:
        stop_polling(v)
        return result
    v.poll_port = only_port
    if op.timeout != 0:
        set_timer(ref(v.poll_timer), trusted(op.timeout))  # any time will do
    this_cpu().reschedule = True


def start_polling(v: Ptr[Vcpu]) -> None:
    """Be woken by any event from now on.

    So no event between the look at the ports and the sleep is missed.
    """
    v.poll_port = 0
    init_timer(ref(v.poll_timer), poll_timed_out)
    atomic_or(ref(v.pause_flags), VPF_blocked)
    atomic_or(ref(v.domain.evtchn.polling_vcpus), bit(u64(v.vcpu_id)))


def stop_polling(v: Ptr[Vcpu]) -> None:
    """Go on without having slept."""
    atomic_and(ref(v.domain.evtchn.polling_vcpus), ~bit(u64(v.vcpu_id)))
    atomic_and(ref(v.pause_flags), ~VPF_blocked)


def look_at_ports(
    v: Ptr[Vcpu], ports: Guest[abi.evtchn_port_t], nr_ports: u32
) -> tuple[bool, i64, u32]:
    """Decide whether to sleep.

    Returns: that; else the result; and the port if it is the only one, else 0.
    """
    if has_event(v) or not still_polling(v):
        return False, 0, 0
    port: Tainted[u32] = 0
    for i in range(nr_ports):
        if not copy_from_guest(ref(port), ports.index(u64(i))):
            return False, -abi.EFAULT, 0
        if not is_open(v.domain, port):
            return False, -abi.EINVAL, 0
        if is_pending(v.domain, trusted(port)):  # it is open: in the table
            return False, 0, 0
    return True, 0, trusted(port) if nr_ports == 1 else 0  # it is open, too


def is_open(d: Ptr[Domain], port: Tainted[u32]) -> bool:
    """Tell whether a port is in use. Without the event lock: it may be closed the next moment."""
    channel = channel_at(d, port)
    return channel is not None and channel.state not in (
        abi.EVTCHNSTAT_closed,
        EVTCHNSTAT_reserved,
    )


def still_polling(v: Ptr[Vcpu]) -> bool:
    """Tell whether nobody has woken the vCPU since it declared itself asleep."""
    blocked = atomic_load(ref(v.pause_flags)) & VPF_blocked != 0
    return blocked and atomic_load(ref(v.domain.evtchn.polling_vcpus)) & bit(u64(v.vcpu_id)) != 0


def poll_timed_out(timer: Ptr[Timer]) -> None:
    """Wake the vCPU if it still polls; it may long have been woken by an event.

    Context: timer interrupt.
    """
    v = container_of(timer, Vcpu, "poll_timer")
    if still_polling(v):
        vcpu_unblock(v)
