"""Who runs where: turns records into `Event`s that know whose they are.

A record tells its processor only; which vCPU ran there follows from the switches before it. Reading
starts in the middle of things and records can be lost, so nothing is certain: an end without a
beginning is dropped, and what is open when records were lost is closed.
"""

from typing import NamedTuple

from xentrace import events
from xentrace.abi_codecs import abi


class Vcpu(NamedTuple):
    """A virtual CPU by its numbers."""

    domain: int
    number: int


class Event(NamedTuple):
    """An event as those who write traces see it. `vcpu` is None while the processor idles."""

    ns: int
    cpu: int
    vcpu: Vcpu | None
    kind: events.Kind
    event: int
    arguments: dict


class Clock:
    """Turns TSC readings into ns since the first."""

    def __init__(self, tsc_khz):
        self.tsc_khz, self.first = tsc_khz, None

    def ns(self, tsc):
        """Return the time of a reading; the first one asked for is time 0."""
        if self.first is None:
            self.first = tsc
        return (tsc - self.first) * 1_000_000 // self.tsc_khz


def vcpu_of(domain, number):
    """Return a vCPU, None for the idle domain's and where none is known."""
    if domain in (abi.DOMID_IDLE, abi.DOMID_INVALID):
        return None
    return Vcpu(domain, number)


def follow(records, tsc_khz):
    """Yield an Event for each record, in the same order."""
    clock, running = Clock(tsc_khz), {}
    for record in records:
        kind = events.kind_of(record.event)
        try:
            arguments = kind.arguments(record.words)
        except IndexError:
            kind = events.Kind("unknown", f"short {kind.name}", None)
            arguments = dict(enumerate(record.words))
        if kind.role in ("running", "lost"):
            running[record.cpu] = vcpu_of(arguments["domain"], arguments["vcpu"])
        vcpu = running.get(record.cpu)
        yield Event(clock.ns(record.tsc), record.cpu, vcpu, kind, record.event, arguments)
        if kind.role == "switch":
            running[record.cpu] = vcpu_of(arguments["to_domain"], arguments["to_vcpu"])


class Names:
    """What people call domains. `domains` is {id as text: name}."""

    def __init__(self, domains):
        self.domains = domains

    def domain(self, number):
        """Return a domain's name."""
        return self.domains.get(str(number), f"domain {number}")

    def vcpu(self, vcpu):
        """Return a short name of a vCPU, of the idle one for None."""
        return f"d{vcpu.domain}v{vcpu.number}" if vcpu else "idle"


class Filter:
    """Which events to show. `domain` is a domain's id, or None for all."""

    def __init__(self, categories, domain=None):
        self.categories, self.domain = {*categories, "lost", "unknown"}, domain

    def shows(self, event):
        """Say whether an event is wanted; that records were lost always is."""
        kind = event.kind
        if kind.category == "lost":
            return True
        if kind.category not in self.categories:
            return False
        return self.domain is None or self.concerns(event)

    def concerns(self, event):
        """Say whether an event is the chosen domain's: by it, or done to it."""
        if event.vcpu is not None and event.vcpu.domain == self.domain:
            return True
        arguments = event.arguments
        return self.domain in (arguments.get("domain"), arguments.get("to_domain"))
