"""Tables of wrong hypercalls: a row is one call that must be refused, and must change nothing.

    Wrong("send: closed port", op(abi.EVTCHNOP_send, abi.evtchn_send, port=77), -abi.EINVAL)

A call is a tuple: the hypercall's number and its arguments. An argument is a number, a structure
(`In`) that is put into the caller's memory, or a function of the machine that gives either. Fields
of structures may be functions too.
"""

import ctypes
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import abi

from tests.model.guest import BASE, NR_TABLES, PAGE, make
from tests.model.memory import FIRST, NR_FRAMES
from tests.model.picture import REFERENCES

UNMAPPED = BASE + 300 * PAGE
BENT = 1 << 47  # no canonical address
SELF = abi.DOMID_SELF
CORE = 0xFFFF830000000000  # the core's own memory
NOBODY = 77  # no such domain
READ_ONLY_PAGE = 14
PRESENT_USER = 5
SEEN_IN_PAGE = int.from_bytes((0x60).to_bytes(8, "little") * 512, "little")  # accessed, dirty
TYPE_COUNT = ((1 << 26) - 1) << 32


@dataclass
class In:
    """A structure in the caller's memory."""

    type: Any
    fields: dict = field(default_factory=dict)


class ReadOnly(In):
    """A structure in memory that the caller can only read."""


@dataclass
class Wrong:
    """One call: why it is wrong, what it answers, who makes it, what happens before."""

    why: str
    call: tuple
    error: int
    by: str = "guest"  # or "dom0"
    first: Callable | None = None
    leaves_trace: bool = False  # it was done, and only its result could not be told

    def __str__(self) -> str:
        return self.why


def guest(machine):
    """The unprivileged domain that makes the calls; `other` is its neighbour."""
    return machine.guests[0]


def other(machine):
    return machine.guests[1]


def own_frame(number):
    """A frame of the caller's by its number; 0 to 3 are its page tables, L4 first."""
    return lambda machine: guest(machine).pages[number]


def foreign_frame(number):
    """A frame of the neighbour's."""
    return lambda machine: other(machine).pages[number]


def check(machine, row):
    """Make a wrong call: it must be refused as the row says, and leave no trace."""
    if row.first:
        row.first(machine)
    caller = machine.dom0 if row.by == "dom0" else guest(machine)
    arguments = [argument_of(machine, caller, value) for value in row.call]
    before = picture(machine)
    result = caller.call(*arguments)
    assert result == row.error, f"{row.why}: {result}"
    if not row.leaves_trace:
        expect_unchanged(machine, before)


def expect_unchanged(machine, before):
    """Compare with an earlier picture; a failure names what differs."""
    after = picture(machine)
    changed = {key: (before.get(key), after[key]) for key in after if after[key] != before.get(key)}
    shown = {key: pair if "table" not in key else "its entries" for key, pair in changed.items()}
    assert not changed, f"changed: {str(shown)[:400]}"


def argument_of(machine, caller, value):
    """Return an argument as a number."""
    if callable(value):
        value = value(machine)
    if isinstance(value, ReadOnly):
        return put_read_only(machine, caller, value)
    if isinstance(value, In):
        return caller.put(value.type, **settled(machine, value.fields))
    return value


def put_read_only(machine, caller, value):
    """Put a structure into a page that the caller then maps read-only."""
    at = BASE + READ_ONLY_PAGE * PAGE
    caller.write(at, bytes(make(value.type, **settled(machine, value.fields))))
    entry = caller.pages[READ_ONLY_PAGE] << 12 | PRESENT_USER
    call = (abi.__HYPERVISOR_update_va_mapping, at, entry, abi.UVMF_TLB_FLUSH)
    assert caller.call(*call) == 0
    return at


def settled(machine, fields):
    """Call those fields that are functions of the machine."""
    found = {}
    for name, value in fields.items():
        if isinstance(value, dict):
            found[name] = settled(machine, value)
        else:
            found[name] = value(machine) if callable(value) else value
    return found


def picture(machine):
    """All that a refused call must leave as it was, by names that a failure shows."""
    seen = {"free frames": machine["kernel.frames.heap.nr_free"].value}
    seen |= {"claimed": machine["kernel.frames.claims.nr_claimed"].value}
    for domain in machine.alive():
        seen |= picture_of(domain)
    raw = (ctypes.c_uint64 * (3 * NR_FRAMES)).from_address(machine.memory.frame_table)
    for number in range(NR_FRAMES):
        info, owner = raw[3 * number], raw[3 * number + 1] & 0xFFFF
        kind = info >> 58 if info & TYPE_COUNT else 0
        counts = (info & REFERENCES, info & TYPE_COUNT, kind)
        seen[f"frame {FIRST + number:#x}"] = (owner if info & REFERENCES else None, *counts)
    for each in (machine.dom0, *machine.guests):
        for number in range(NR_TABLES):
            page = bytes(machine.memory.page(each.pages[number]))
            entries = int.from_bytes(page, "little") & ~SEEN_IN_PAGE  # as one number: it is quick
            seen[f"d{each.id} table {number}"] = entries
    return seen


COUNTS = [
    *("refcount", "pause_count", "controller_pause_count", "is_dying", "is_shut_down"),
    *("tot_pages", "max_pages", "outstanding_pages", "shutdown_code", "nr_memory_map"),
    *("vm_assist", "sched_weight", "watchdogs_in_use"),
]
VCPU_FIELDS = [
    *("pause_flags", "pause_count", "poll_port", "guest_table", "guest_table_user", "gdt_ents"),
    *("ldt_ents", "event_callback_eip", "iopl", "io_bitmap_ports", "periodic_period_ns"),
    *("vcpu_info_mfn", "kernel_sp"),
]


def picture_of(domain):
    """What there is to see of one domain."""
    name = f"d{domain.domain_id}"
    seen = {f"{name}.{field}": int(getattr(domain, field)) for field in COUNTS}
    seen[f"{name} channels"] = [bytes(page) for page in domain.evtchn.pages if page is not None]
    seen[f"{name} ports"] = (domain.evtchn.nr_active, domain.evtchn.polling_vcpus)
    grant = domain.grant
    seen[f"{name} grants"] = [pins_of(page) for page in grant.active if page is not None]
    seen[f"{name} grant frames"] = (grant.nr_frames, grant.nr_maptrack_frames)
    for number in range(domain.max_vcpus):
        v = domain.vcpus[number]
        if v is not None:
            values = [int(getattr(v, field) or 0) for field in VCPU_FIELDS]
            seen[f"{name}v{number}"] = dict(zip(VCPU_FIELDS, values, strict=True))
            seen[f"{name}v{number}"] |= {"virqs": bytes(v.ref("virq_ports"))}
            seen[f"{name}v{number}"] |= {"affinity": v.sched.affinity}
    return seen


def hypercall(number):
    """Return the function that writes a call as a row: a command, and its structure."""

    def call(command, type_=None, at=None, **fields):
        return (number, command, In(type_, fields) if at is None else at)

    return call


def pins_of(page):
    """The active grants of a page that are in use; what others still hold means nothing."""
    words = memoryview(bytes(page)).cast("Q")
    used = [i for i in range(0, len(words), 2) if words[i + 1] & 0xFFFFFFFF]
    return {i // 2: (words[i], words[i + 1]) for i in used}
