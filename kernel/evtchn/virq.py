"""Virtual interrupts: the core's own events.

A per-vCPU one has a port on each vCPU, a global one a single port in a domain.
"""

import abi
from kpy import Ptr, build_time, u32

import kernel.state.domain
from kernel.evtchn.channel import channel_at, set_pending
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu

PER_VCPU_VIRQS = (abi.VIRQ_TIMER, abi.VIRQ_DEBUG, abi.VIRQ_XENOPROF, abi.VIRQ_XENPMU)


@build_time
def mask_of(numbers):
    """Return an integer with a bit for each number."""
    return sum(1 << number for number in numbers)


PER_VCPU_VIRQ_MASK = mask_of(PER_VCPU_VIRQS)


def virq_is_global(virq: u32) -> bool:
    """Tell whether a VIRQ belongs to a domain as a whole and not to each vCPU."""
    return PER_VCPU_VIRQ_MASK >> virq & 1 == 0


def send_guest_vcpu_virq(v: Ptr[Vcpu], virq: u32) -> None:
    """Signal a per-vCPU VIRQ; does nothing if the guest has not bound it.

    Locks: takes the domain's event lock.
    """
    send_virq(v.domain, v, virq)


def send_guest_global_virq(d: Ptr[Domain], virq: u32) -> None:
    """Signal a global VIRQ of a domain. Locks: takes its event lock."""
    v = d.vcpus[0]
    if v is not None:
        send_virq(d, v, virq)


def send_global_virq(virq: u32) -> None:
    """Signal a global VIRQ to domain 0, which handles all of them. Locks: takes its event lock."""
    d = kernel.state.domain.dom0
    if d is not None:
        send_guest_global_virq(d, virq)


def send_virq(d: Ptr[Domain], v: Ptr[Vcpu], virq: u32) -> None:
    """Set the port pending that `v` has bound to a VIRQ."""
    with d.event_lock:
        port = v.virq_ports[virq]
        channel = channel_at(d, port)
        if port != 0 and channel is not None:
            set_pending(d, u32(channel.notify_vcpu), port)
