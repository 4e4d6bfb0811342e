"""Traces in Chrome's trace event format, which Perfetto (https://ui.perfetto.dev) and
chrome://tracing open.

Two groups of rows, "physical CPUs" and one for each domain. A processor's row has a slice for each
vCPU that it runs. A vCPU's row has slices for its runstates, inside "running" the hypercalls and
traps, and inside a multicall its parts; everything without duration is an instant. An arrow leads
from where an event channel was signalled to the upcall in the receiver.

Slices are pairs of B and E, written in order of time; every B gets its E, at the end of the trace
if need be. Times are in us.
Source: the document "Trace Event Format" (Duration, Instant, Flow and Metadata Events).
"""

import json

from xentrace import events, names, text
from xentrace.state import Vcpu

CPU_PID = 1
FIRST_DOMAIN_PID = 10
TIDS = 100  # so that a thread's number is its alone: the process's, times this, plus its own
IRET = events.abi.__HYPERVISOR_iret
COLOURS = {
    "running": "thread_state_running",
    "runnable": "thread_state_runnable",
    "blocked": "thread_state_sleeping",
    "offline": "grey",
}


class Row:
    """A thread of the format: one line in the picture, with the slices open on it."""

    def __init__(self, pid, number):
        self.pid, self.tid = pid, pid * TIDS + number
        self.open = []


class ChromeWriter:
    """Writes one trace to a file."""

    def __init__(self, out, domain_names):
        self.out, self.names = out, domain_names
        self.rows, self.flows = {}, {}
        self.nr_flows = self.nr_lost = self.last_ns = 0
        self.separator = "[\n"
        out.write('{"displayTimeUnit": "ns", "traceEvents": ')

    # Lines of the file

    def put(self, **fields):
        """Write one trace event."""
        self.out.write(self.separator + json.dumps(fields))
        self.separator = ",\n"

    def put_at(self, row, ph, ns, name, **fields):
        """Write an event on a row."""
        self.put(name=name, ph=ph, ts=ns / 1000, pid=row.pid, tid=row.tid, **fields)

    def row(self, key):
        """Return the row of a processor, a number, or a Vcpu; introduce a new one."""
        if key not in self.rows:
            if isinstance(key, Vcpu):
                self.introduce(key, FIRST_DOMAIN_PID + key.domain, key.number, f"vcpu {key.number}")
            else:
                self.introduce(key, CPU_PID, key, f"cpu {key}")
        return self.rows[key]

    def introduce(self, key, pid, number, name):
        """Make a row, and name it and its group."""
        is_domain = pid != CPU_PID
        group = self.names.domain(key.domain) if is_domain else "physical CPUs"
        if all(row.pid != pid for row in self.rows.values()):
            self.put_metadata(pid, 0, "process_name", name=group)
            self.put_metadata(pid, 0, "process_sort_index", sort_index=pid)
        row = self.rows[key] = Row(pid, number)
        self.put_metadata(pid, row.tid, "thread_name", name=name)
        self.put_metadata(pid, row.tid, "thread_sort_index", sort_index=number)

    def put_metadata(self, pid, tid, what, **arguments):
        """Write a name or a place of a row or group."""
        self.put(name=what, ph="M", ts=self.last_ns / 1000, pid=pid, tid=tid, args=arguments)

    # Slices

    def begin(self, row, ns, name, category, **fields):
        """Open a slice inside those that are open."""
        row.open.append(name)
        self.put_at(row, "B", ns, name, cat=category, **fields)

    def end(self, row, ns, depth=0, **fields):
        """Close the slices of a row that are open beyond a depth; `fields` go to the outermost."""
        while len(row.open) > depth:
            name = row.open.pop()
            self.put_at(row, "E", ns, name, **(fields if len(row.open) == depth else {}))

    # Events

    def write(self, followed, chosen):
        """Write all events that are shown, and the end of the file.

        Returns: how many records were lost.
        """
        for event in followed:
            self.last_ns = event.ns
            if event.kind.category == "lost":
                self.lost(event)
            else:
                self.write_event(event, chosen)
        for row in self.rows.values():
            self.end(row, self.last_ns)
        if self.separator == "[\n":
            self.out.write("[")
        self.out.write(f'\n], "otherData": {{"lost_records": {self.nr_lost}}}}}\n')
        return self.nr_lost

    def write_event(self, event, chosen):
        """Write one event. What runs on a processor is shown whoever it is."""
        match event.kind.role:
            case "running" | "switch":
                to = event.vcpu
                if event.kind.role == "switch":
                    to = None
                    self.end_hypercalls(event)
                    if event.arguments["to_domain"] < events.abi.DOMID_FIRST_RESERVED:
                        to = Vcpu(event.arguments["to_domain"], event.arguments["to_vcpu"])
                self.occupy(event, to, chosen)
            case "runstate":
                self.runstate(event, chosen)
            case "begin" | "end" if chosen.shows(event) and event.vcpu is not None:
                self.call(event)
            case "pending" if chosen.shows(event):
                self.instant(event)
                self.start_flow(event)
            case "upcall" if chosen.shows(event):
                self.instant(event)
                self.end_flow(event)
            case _ if chosen.shows(event):
                self.instant(event)

    def occupy(self, event, to, chosen):
        """Show what a processor runs from now on, None for nothing."""
        row = self.row(event.cpu)
        self.end(row, event.ns)
        if to is None:
            return
        name = f"{self.names.domain(to.domain)} vcpu {to.number}"
        self.begin(row, event.ns, name, "sched", args={"domain": to.domain, "vcpu": to.number})
        if chosen.domain in (None, to.domain) and not self.row(to).open:
            self.begin_state(self.row(to), event.ns, "running")

    def end_hypercalls(self, event):
        """Close what is open in a vCPU that leaves its processor, up to its runstate."""
        if event.vcpu in self.rows:
            self.end(self.rows[event.vcpu], event.ns, depth=1)

    def runstate(self, event, chosen):
        """Show that a vCPU changes its state."""
        vcpu = Vcpu(event.arguments["domain"], event.arguments["vcpu"])
        if chosen.domain not in (None, vcpu.domain):
            return
        row = self.row(vcpu)
        self.end(row, event.ns)
        self.begin_state(row, event.ns, events.states_of(event.event)[1])

    def begin_state(self, row, ns, state):
        """Open the slice of a runstate."""
        self.begin(row, ns, state, "sched", cname=COLOURS[state])

    def call(self, event):
        """Open or close the slice of a hypercall, a part of a multicall, or a trap."""
        row, arguments = self.row(event.vcpu), event.arguments
        is_trap = event.kind.name == "trap"
        if event.kind.role == "begin":
            if is_trap:
                name = names.exception_name(arguments["vector"])
            else:
                name = names.hypercall_name(arguments["op"], arguments.get("a0"))
            self.begin(row, event.ns, name, event.kind.category, args=call_arguments(arguments))
            return
        depth = 2 if event.kind.name == "subcall" else 1
        if len(row.open) > depth:
            has_result = not is_trap and not is_iret(arguments)
            result = {"result": names.result_text(arguments["result"])} if has_result else {}
            self.end(row, event.ns, depth=depth, args=result)

    def instant(self, event):
        """Mark a moment, on the row of the vCPU that runs, else the processor's."""
        row = self.row(event.cpu if event.vcpu is None else event.vcpu)
        arguments = {key: text.shown(key, value) for key, value in event.arguments.items()}
        category, name = event.kind.category, event.kind.name
        self.put_at(row, "i", event.ns, name, cat=category, s="t", args=arguments)

    def start_flow(self, event):
        """Begin an arrow to a vCPU, unless one is under way already."""
        to = Vcpu(event.arguments["domain"], event.arguments["vcpu"])
        if event.vcpu is not None and to not in self.flows:
            self.nr_flows += 1
            self.flows[to] = self.nr_flows
            row = self.row(event.vcpu)
            self.put_at(row, "s", event.ns, "event", cat="evtchn", id=self.nr_flows)

    def end_flow(self, event):
        """End the arrow to a vCPU whose upcall begins."""
        to = Vcpu(event.arguments["domain"], event.arguments["vcpu"])
        if (number := self.flows.pop(to, None)) is not None:
            row = self.row(to)
            self.put_at(row, "f", event.ns, "event", cat="evtchn", id=number, bp="e")

    def lost(self, event):
        """Mark a gap: nothing that was open on the processor is known to go on."""
        self.nr_lost += event.arguments["lost"]
        row = self.row(event.cpu)
        self.end(row, event.ns)
        arguments = {"records": event.arguments["lost"]}
        name = f"{event.arguments['lost']} records lost"
        self.put_at(row, "i", event.ns, name, cat="lost", s="g", args=arguments)
        if event.vcpu is not None:
            name = f"{self.names.domain(event.vcpu.domain)} vcpu {event.vcpu.number}"
            self.begin(row, event.ns, name, "sched")


def call_arguments(arguments):
    """Return the arguments of a hypercall or trap as a picture shows them."""
    if is_iret(arguments):
        return {}
    return {key: hex(value) for key, value in arguments.items() if key != "op"}


def is_iret(arguments):
    """Say whether this is iret, whose registers are the interrupted program's."""
    return arguments.get("op") == IRET
