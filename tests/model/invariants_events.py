"""What is always true of event channels, between any two hypercalls.

Nothing here calls the core: it reads the core's memory.
"""

import struct

import abi

from kernel.evtchn.channel import EVTCHNSTAT_reserved
from kernel.evtchn.virq import PER_VCPU_VIRQS
from kernel.state.domain import DOMDYING_alive
from kernel.state.vcpu import VPF_blocked
from tests.model.layout import vcpus_of

CHANNEL = struct.Struct("<QIHBB")  # remote_domain, number, notify_vcpu, state, reserved
STATES = (
    abi.EVTCHNSTAT_closed,
    abi.EVTCHNSTAT_unbound,
    abi.EVTCHNSTAT_interdomain,
    abi.EVTCHNSTAT_pirq,
    abi.EVTCHNSTAT_virq,
    abi.EVTCHNSTAT_ipi,
)


class Channel:
    """A port as it is now."""

    def __init__(self, port, words):
        self.port = port
        self.remote, self.number, self.vcpu, self.state, _ = words

    def __repr__(self):
        return f"port {self.port}: state {self.state}, number {self.number}, vcpu {self.vcpu}"


def check_events(machine):
    """Check every domain's channels."""
    domains = machine.alive()
    tables = {int(domain): channels_of(domain) for domain in domains}
    for domain in domains:
        name = f"d{domain.domain_id}"
        channels = tables[int(domain)]
        check_table(name, domain, channels)
        for channel in channels:
            check_channel(f"{name} {channel}", domain, channel, tables)
        check_bindings(name, domain, channels)
        if domain.is_dying == DOMDYING_alive:
            check_bits(name, domain, channels)
    check_pirqs(machine, domains, tables)


def channels_of(domain):
    """Return all ports for which a domain's table has room."""
    found = []
    for page in domain.evtchn.pages:
        if page is None:
            break
        found += [
            Channel(len(found) + i, w) for i, w in enumerate(CHANNEL.iter_unpack(bytes(page)))
        ]
    return found


def check_table(name, domain, channels):
    """The counts are those of the channels; port 0 is nobody's; no port below the hint is free."""
    table = domain.evtchn
    assert len(channels) == table.nr_ports, f"{name}: pages and nr_ports differ"
    opened = [c for c in channels if c.state != abi.EVTCHNSTAT_closed]
    assert len(opened) == table.nr_active, f"{name}: {len(opened)} open, {table.nr_active} counted"
    if channels:
        assert channels[0].state == EVTCHNSTAT_reserved, f"{name}: port 0 was given out"
    below = channels[1 : table.first_free]
    assert all(c.state != abi.EVTCHNSTAT_closed for c in below), f"{name}: a port is overlooked"
    assert all(c.port < table.max_ports for c in opened), f"{name}: more ports than allowed"


def check_channel(name, domain, channel, tables):
    """Both ends of a connection name each other; nothing else has a far end, or a missing vCPU."""
    if channel.port == 0:
        return
    assert channel.state in STATES, f"{name}: no such state"
    if channel.state == abi.EVTCHNSTAT_interdomain:
        assert channel.remote in tables, f"{name}: the far domain is gone"
        far = tables[channel.remote][channel.number]
        ends = (far.state, far.remote, far.number)
        expected = (abi.EVTCHNSTAT_interdomain, int(domain), channel.port)
        assert ends == expected, f"{name}: the far end is {far}"
    else:
        assert channel.remote == 0, f"{name}: a far end is left"
    if channel.state != abi.EVTCHNSTAT_closed and domain.max_vcpus and vcpus_of(domain):
        assert channel.vcpu in vcpus_of(domain), f"{name}: notifies a vCPU that is not there"


def check_bindings(name, domain, channels):
    """A VIRQ's port and the vCPU that has it name each other; a per-vCPU one stays there."""
    bound = {}
    for number, v in vcpus_of(domain).items():
        for virq, port in enumerate(v.virq_ports):
            if port:
                bound[port] = (virq, number)
    wanted = {c.port: c for c in channels if c.state == abi.EVTCHNSTAT_virq}
    assert bound.keys() == wanted.keys(), f"{name}: VIRQs bound {bound}, channels {wanted}"
    for port, (virq, number) in bound.items():
        assert wanted[port].number == virq, f"{name}: port {port} is another VIRQ's"
        if virq in PER_VCPU_VIRQS:
            assert wanted[port].vcpu == number, f"{name}: VIRQ {virq} notifies another vCPU"
        else:
            assert number == 0, f"{name}: global VIRQ {virq} is recorded at vCPU {number}"


def check_pirqs(machine, domains, tables):
    """Every port of a physical interrupt is dom0's, and the only one of its number."""
    words = memoryview(bytes(machine["kernel.evtchn.pirq.pirq_ports"])).cast("I")
    ports = {number: port for number, port in enumerate(words) if port}
    found = {}
    for domain in domains:
        for channel in tables[int(domain)]:
            if channel.state == abi.EVTCHNSTAT_pirq:
                assert domain.domain_id == 0, f"d{domain.domain_id} has an interrupt of the machine"
                found[channel.number] = channel.port
    assert found == ports, f"interrupts bound {ports}, channels {found}"


def check_bits(name, domain, channels):
    """Only open ports are pending; and an event that no guest masks has told a vCPU so."""
    shared, vcpus = domain.shared_info, vcpus_of(domain)
    for word in range((len(channels) + 63) // 64):
        pending, masked = shared.evtchn_pending[word], shared.evtchn_mask[word]
        if not pending:
            continue
        for bit in range(64):
            if pending >> bit & 1:
                state = channels[64 * word + bit].state
                port = f"{name}: port {64 * word + bit}"
                assert state not in (abi.EVTCHNSTAT_closed, EVTCHNSTAT_reserved), (
                    f"{port} is pending, but closed"
                )
        if pending & ~masked and vcpus:
            told = any(v.vcpu_info.evtchn_pending_sel >> word & 1 for v in vcpus.values())
            assert told, f"{name}: word {word} is pending, and no vCPU was told"
    for number, v in vcpus.items():
        if domain.evtchn.polling_vcpus >> number & 1:
            assert v.pause_flags & VPF_blocked, f"{name}v{number} polls, but is not blocked"
        if v.vcpu_info.evtchn_pending_sel:
            assert v.vcpu_info.evtchn_upcall_pending, f"{name}v{number}: the upcall was lost"
