"""Event channels of physical interrupts, which only domain 0 has."""

from kpy import Array, Ptr, static, u32

from kernel.base.ids import NR_PIRQS
from kernel.evtchn.channel import channel_at, set_pending
from kernel.state.domain import Domain

pirq_ports = static(
    Array[u32, NR_PIRQS]
)  # domain 0's port for each pirq, 0: none; under its event lock


def send_guest_pirq(d: Ptr[Domain], pirq: u32) -> None:
    """Signal a physical interrupt to domain 0. Locks: takes its event lock. Context: interrupt."""
    with d.event_lock:
        port = pirq_ports[pirq]
        channel = channel_at(d, port)
        if port != 0 and channel is not None:
            set_pending(d, u32(channel.notify_vcpu), port)
