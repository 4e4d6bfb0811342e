"""Event channels of a domain: the table that it holds.

A channel is 16 bytes, so a page holds 256 and the 4096 ports of the two-level ABI need at most 16
pages, each allocated when its first port is. Port 0 is never used: guests take it for "none".
"""

from kpy import Array, Ptr, sizeof, struct, u8, u16, u32, u64

from kernel.state.domain import Domain

EVTCHN_MAX_PORTS = 4096  # EVTCHN_2L_NR_CHANNELS: 64 words of 64 bits
CHANNELS_PER_PAGE = 256
CHANNEL_PAGES = EVTCHN_MAX_PORTS // CHANNELS_PER_PAGE


@struct
class Channel:
    """One port; guarded by its domain's event lock, an interdomain channel by both ends' locks."""

    remote_domain: Ptr[Domain] | None  # interdomain; no reference: closing severs
    number: u32  # interdomain: remote port; virq, pirq: its number; unbound: who may bind
    notify_vcpu: u16
    state: u8  # EVTCHNSTAT_*
    reserved: u8


assert sizeof(Channel) == 16


@struct(size=4096)
class ChannelPage:
    channels: Array[Channel, CHANNELS_PER_PAGE]


@struct
class EvtchnTable:
    pages: Array[Ptr[ChannelPage] | None, CHANNEL_PAGES]
    nr_ports: u32  # ports that have a channel: pages allocated * CHANNELS_PER_PAGE
    max_ports: u32  # limit that the toolstack set, at most EVTCHN_MAX_PORTS
    first_free: u32  # no port below it is closed
    nr_active: u32
    polling_vcpus: u64  # bit per vCPU blocked in SCHEDOP_poll
