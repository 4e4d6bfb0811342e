"""What a record says: its category, its name, and its words as named values.

One line a kind of event, found by number; the layouts are kernel/abi/trace.h's.
"""

from typing import NamedTuple

from xentrace import names
from xentrace.abi_codecs import abi

CATEGORIES = ("hypercall", "trap", "sched", "evtchn", "page", "irq")
# Who runs where is always needed: to say whose the other events are.
ALWAYS = abi.TRC_SCHED_MIN | abi.TRC_SCHED_VERBOSE | abi.TRC_DOM0_DOMOPS
MASKS = {
    "hypercall": abi.TRC_PV_ENTRY | abi.TRC_PV_SUBCALL,
    "trap": abi.TRC_PV_ENTRY,
    "sched": ALWAYS,
    "evtchn": abi.TRC_PROXEN_EVTCHN,
    "page": abi.TRC_MEM,
    "irq": abi.TRC_HW_IRQ | abi.TRC_PROXEN_TLB,
}


def mask_of(categories):
    """Return the event mask that records these categories, and some others with them."""
    mask = ALWAYS
    for category in categories:
        mask |= MASKS[category]
    return mask


class Kind(NamedTuple):
    """A kind of event. `arguments` makes {name: value} of the words; `role` is for `state`."""

    category: str
    name: str
    arguments: object
    role: str = "instant"


def wide(words, at=0):
    """Return the 64-bit value at a place among the words."""
    return words[at] | words[at + 1] << 32


def named(*keys):
    """Return a decoder of words that stand for themselves."""
    return lambda words: dict(zip(keys, words, strict=False))


def hypercall(words):
    """Decode TRC_PV_HYPERCALL_V2: the arguments that its bit field says are there."""
    found, at = {"op": words[0] & 0xFFFFF}, 1
    for i in range(6):
        size = words[0] >> (20 + 2 * i) & 3
        if size in (1, 2) and at + size <= len(words):
            found[f"a{i}"] = wide(words, at) if size == 2 else words[at]
            at += size
    return found


def trap(words):
    info = words[2]
    return {"vector": info & 0x7FFF, "error_code": info >> 16, "rip": wide(words)}


def page_fault(words):
    return {
        "vector": 14,
        "error_code": words[4],
        "rip": wide(words),
        "address": wide(words, 2),
    }


def page_type(words):
    old, new = (names.PAGE_TYPES[words[2] >> shift & 7] for shift in (0, 8))
    return {"frame": wide(words), "old": old, "new": new}


def handled(words):
    """Decode an interrupt that has been served: the TSC's low halves give how long it took."""
    return {"number": words[0], "ticks": (words[2] - words[1]) & 0xFFFFFFFF}


def runstate(words):
    return {"domain": words[0] >> 16, "vcpu": words[0] & 0xFFFF}


def lost(words):
    return {
        "lost": words[0],
        "domain": words[1] & 0xFFFF,
        "vcpu": words[1] >> 16,
        "since": wide(words, 2),
    }


DOMAIN_VCPU = named("domain", "vcpu")
W = abi.TRC_64_FLAG
KINDS = {
    abi.TRC_PROXEN_RUNNING: Kind("sched", "running", DOMAIN_VCPU, "running"),
    abi.TRC_LOST_RECORDS: Kind("lost", "lost_records", lost, "lost"),
    abi.TRC_SCHED_SWITCH: Kind(
        "sched", "switch", named("domain", "vcpu", "to_domain", "to_vcpu"), "switch"
    ),
    abi.TRC_SCHED_WAKE: Kind("sched", "wake", DOMAIN_VCPU),
    abi.TRC_SCHED_SLEEP: Kind("sched", "sleep", DOMAIN_VCPU),
    abi.TRC_SCHED_BLOCK: Kind("sched", "block", DOMAIN_VCPU),
    abi.TRC_SCHED_YIELD: Kind("sched", "yield", DOMAIN_VCPU),
    abi.TRC_SCHED_DOM_ADD: Kind("sched", "vcpu_add", DOMAIN_VCPU),
    abi.TRC_SCHED_SHUTDOWN_CODE: Kind("sched", "shutdown", named("domain", "reason")),
    abi.TRC_DOM0_DOM_ADD: Kind("sched", "domain_add", named("domain")),
    abi.TRC_DOM0_DOM_REM: Kind("sched", "domain_remove", named("domain"), "domain_remove"),
    abi.TRC_PV_HYPERCALL_V2: Kind("hypercall", "hypercall", hypercall, "begin"),
    abi.TRC_PV_HYPERCALL_SUBCALL: Kind("hypercall", "subcall", hypercall, "begin"),
    abi.TRC_PROXEN_HYPERCALL_RETURN: Kind(
        "hypercall", "hypercall", lambda w: {"op": w[0], "result": wide(w, 1)}, "end"
    ),
    abi.TRC_PROXEN_SUBCALL_RETURN: Kind(
        "hypercall", "subcall", lambda w: {"op": w[0], "result": wide(w, 1)}, "end"
    ),
    abi.TRC_PROXEN_SYSCALL: Kind("trap", "syscall", lambda w: {"number": w[2], "rip": wide(w)}),
    abi.TRC_PV_TRAP | W: Kind("trap", "trap", trap, "begin"),
    abi.TRC_PV_PAGE_FAULT | W: Kind("trap", "trap", page_fault, "begin"),
    abi.TRC_PROXEN_TRAP_RETURN: Kind("trap", "trap", named("vector"), "end"),
    abi.TRC_PV_EMULATE_PRIVOP | W: Kind("trap", "emulate_privop", lambda w: {"rip": wide(w)}),
    abi.TRC_PV_PTWR_EMULATION | W: Kind(
        "trap",
        "ptwr_emulation",
        lambda w: {"entry": wide(w), "address": wide(w, 2), "rip": wide(w, 4)},
    ),
    abi.TRC_PROXEN_EVTCHN_SEND: Kind("evtchn", "send", named("domain", "port")),
    abi.TRC_PROXEN_EVTCHN_PENDING: Kind(
        "evtchn", "pending", named("domain", "vcpu", "port"), "pending"
    ),
    abi.TRC_PROXEN_EVTCHN_UPCALL: Kind("evtchn", "upcall", DOMAIN_VCPU, "upcall"),
    abi.TRC_MEM_PAGE_GRANT_MAP: Kind("page", "grant_map", named("domain")),
    abi.TRC_MEM_PAGE_GRANT_UNMAP: Kind("page", "grant_unmap", named("domain")),
    abi.TRC_PROXEN_PAGE_TYPE: Kind("page", "page_type", page_type),
    abi.TRC_HW_IRQ_HANDLED: Kind("irq", "irq", handled),
    abi.TRC_PROXEN_INTERRUPT: Kind("irq", "interrupt", handled),
    abi.TRC_PROXEN_TLB_SHOOTDOWN: Kind("irq", "tlb_shootdown", lambda w: {"cpus": wide(w)}),
}
RUNSTATE_CHANGE = Kind("sched", "runstate", runstate, "runstate")
STATE_BITS = 0x330


def kind_of(event):
    """Return what kind of event this is; one that we do not know is shown by its number."""
    found = KINDS.get(event)
    if found is not None:
        return found
    if event & ~STATE_BITS == abi.TRC_SCHED_RUNSTATE_CHANGE:
        return RUNSTATE_CHANGE
    return Kind("unknown", f"event_{event:#x}", lambda words: dict(enumerate(words)))


def states_of(event):
    """Return the names of the states before and after a runstate change."""
    return names.RUNSTATES[event >> 8 & 3], names.RUNSTATES[event >> 4 & 3]
