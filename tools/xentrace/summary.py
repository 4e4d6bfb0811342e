"""What happened in a trace, counted: hypercalls and traps of each domain, and who used the CPUs."""

from collections import defaultdict

from xentrace import names
from xentrace.state import Vcpu

HEAD = "{:<34} {:>9} {:>11} {:>9} {:>9}"
LINE = "{:<34} {:>9} {:>11.1f} {:>9.2f} {:>9.2f}"


class Tally:
    """How often something happened, and how long it took."""

    def __init__(self):
        self.count = self.total_ns = self.most_ns = 0

    def add(self, ns):
        """Count one."""
        self.count += 1
        self.total_ns += ns
        self.most_ns = max(self.most_ns, ns)


class Summary:
    """Counts a trace's events; only sums are kept."""

    def __init__(self):
        self.calls, self.instants = defaultdict(Tally), defaultdict(int)
        self.ran, self.since, self.begun = defaultdict(Tally), {}, {}
        self.nr_lost = self.nr_events = self.last_ns = 0

    def count(self, followed, chosen):
        """Count all events that are shown."""
        for event in followed:
            self.last_ns = event.ns
            if event.kind.role in ("running", "switch", "lost"):
                self.switch(event)
            if event.kind.category == "lost":
                self.nr_lost += event.arguments["lost"]
                self.begun.clear()
            elif chosen.shows(event):
                self.nr_events += 1
                self.add(event)
        for vcpu, since in self.since.values():
            self.ran[vcpu].add(self.last_ns - since)

    def switch(self, event):
        """Count how long a vCPU was on a processor that changes to another."""
        if (before := self.since.pop(event.cpu, None)) is not None:
            self.ran[before[0]].add(event.ns - before[1])
        to = event.vcpu
        if event.kind.role == "switch":
            to = Vcpu(event.arguments["to_domain"], event.arguments["to_vcpu"])
            to = to if to.domain < names.abi.DOMID_FIRST_RESERVED else None
        if to is not None:
            self.since[event.cpu] = (to, event.ns)

    def add(self, event):
        """Count a call at its end, anything else at once."""
        domain = event.vcpu.domain if event.vcpu else None
        key = (event.vcpu, event.kind.name)
        if event.kind.role == "begin":
            self.begun[key] = (event.ns, call_name(event))
        elif event.kind.role == "end":
            if (begun := self.begun.pop(key, None)) is not None:
                self.calls[domain, event.kind.category, begun[1]].add(event.ns - begun[0])
        else:
            self.instants[domain, f"{event.kind.category}: {event.kind.name}"] += 1

    def write(self, out, domain_names):
        """Print it, domain by domain, what took longest first."""
        out.write(f"{self.nr_events} events in {self.last_ns / 1e9:.3f} s")
        out.write(f", and {self.nr_lost} LOST: use --size\n" if self.nr_lost else "\n")
        domains = {key[0] for key in (*self.calls, *self.instants)}
        domains |= {vcpu.domain for vcpu in self.ran}
        for domain in sorted(domains, key=lambda d: (d is None, d)):
            name = "idle processors" if domain is None else domain_names.domain(domain)
            out.write("\n" + HEAD.format(name, "count", "total us", "mean us", "most us") + "\n")
            self.write_domain(out, domain)

    def write_domain(self, out, domain):
        """Print the lines of one domain."""
        rows = [(f"vcpu {v.number} ran", t) for v, t in self.ran.items() if v.domain == domain]
        calls = [(f"{what}: {name}", t) for (d, what, name), t in self.calls.items() if d == domain]
        rows = sorted(rows) + sorted(calls, key=lambda row: -row[1].total_ns)
        for name, tally in rows:
            total_us, most_us = tally.total_ns / 1000, tally.most_ns / 1000
            out.write(LINE.format(name, tally.count, total_us, total_us / tally.count, most_us))
            out.write("\n")
        for (of, name), count in sorted(self.instants.items(), key=lambda item: -item[1]):
            if of == domain:
                out.write(f"{name:<34} {count:>9}\n")


def call_name(event):
    """Return what a hypercall or trap is called."""
    arguments = event.arguments
    if event.kind.name == "trap":
        return names.exception_name(arguments["vector"])
    return names.hypercall_name(arguments["op"], arguments.get("a0"))
