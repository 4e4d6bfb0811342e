"""Traces as text: one line an event, as `perf script` and Xen's `xentrace_format` print them."""

from xentrace import events, names
from xentrace.abi_codecs import abi

DECIMAL = {"domain", "vcpu", "to_domain", "to_vcpu", "port", "lost", "vector", "number", "ticks"}


def describe(event):
    """Return an event's name and its arguments in one string."""
    kind, arguments = event.kind, dict(event.arguments)
    if kind.role == "runstate":
        before, after = events.states_of(event.event)
        return f"runstate d{arguments['domain']}v{arguments['vcpu']} {before} -> {after}"
    if kind.category == "hypercall":
        return describe_hypercall(kind, arguments)
    if kind.name == "trap":
        arrow = "-> " if kind.role == "end" else ""
        name = names.exception_name(arguments.pop("vector"))
        return f"trap {arrow}{name}{listed(arguments)}"
    return kind.name + listed(arguments)


def describe_hypercall(kind, arguments):
    """Return a hypercall as a call, or as what it returned."""
    number = arguments.pop("op")
    if number == abi.__HYPERVISOR_iret:  # its registers are the interrupted program's
        return f"{kind.name} iret{' done' if kind.role == 'end' else ''}"
    if kind.role == "end":
        result = names.result_text(arguments["result"])
        return f"{kind.name} {names.hypercall_name(number)} = {result}"
    name = names.hypercall_name(number, arguments.get("a0"))
    return f"{kind.name} {name}({', '.join(hex(value) for value in arguments.values())})"


def listed(arguments):
    """Return named values, each after a blank."""
    return "".join(f" {key}={shown(key, value)}" for key, value in arguments.items())


def shown(key, value):
    """Return a value as people want it: numbers of things decimal, the rest hexadecimal."""
    return str(value) if key in DECIMAL or isinstance(value, str) else hex(value)


def write(out, followed, chosen, domain_names):
    """Write a line for each event that is shown."""
    for event in followed:
        if chosen.shows(event):
            seconds, ns = divmod(event.ns, 1_000_000_000)
            who = domain_names.vcpu(event.vcpu)
            text = describe(event)
            out.write(f"{seconds:5d}.{ns:09d} cpu{event.cpu:<2d} {who:<7s} {text}\n")
