"""A heap that runs out at each allocation of every call that allocates.

`fails_cleanly` makes a call with 0 free frames, then with 1, and so on until it succeeds: each time
before it says so in its own way, nothing has changed, and nothing is lost. `misses_one` lets each
single page that the call needs for the core fail to come, and those after it come. Whoever writes a
call that allocates adds a row.
"""

from dataclasses import dataclass
from typing import Any

import abi
import pytest

from tests.model import invariants
from tests.model.codes import ENOMEM
from tests.model.errors import expect_unchanged, guest, picture
from tests.model.guest import BASE, DATA, FIRST_DATA_PAGE, PAGE, domctl, try_domctl
from tests.model.test_errors_grant import FREE_VA, GRANTED, offer

MEMORY_OP, GRANT_OP = abi.__HYPERVISOR_memory_op, abi.__HYPERVISOR_grant_table_op
EVENT_OP, SYSCTL = abi.__HYPERVISOR_event_channel_op, abi.__HYPERVISOR_sysctl
UPDATE_VA = abi.__HYPERVISOR_update_va_mapping
LIST = BASE + 20 * PAGE
MOST_FRAMES = 64
ALLOCATE = "kernel.frames.core_page.alloc_core_page"


def dom0(machine):
    return machine.dom0


class Scarce:
    """The heap's free frames, all but a few of them taken by the test."""

    def __init__(self, machine):
        self.machine, self.taken = machine, []
        self.nr_free = machine["kernel.frames.heap.nr_free"]

    def leave(self, count):
        """Let so many frames be free, each a block of its own."""
        take = self.machine["kernel.frames.heap.take_block"]
        all_zones = (1 << 16) - 1
        while self.nr_free.value:
            self.taken.append(take(0, all_zones))
        for _ in range(count):
            self.give(self.taken.pop())

    def give(self, mfn):
        self.machine["kernel.frames.heap.give_block"](mfn, 0, 0)

    def end(self):
        """Give everything back."""
        while self.taken:
            self.give(self.taken.pop())


@dataclass
class Call:
    """One call that allocates.

    `make(machine)` makes it and returns its result; `first(machine)` prepares. What has run out of
    memory returns one of `refusals`, and does nothing unless `leaves_trace`.
    """

    name: str
    make: Any
    refusals: tuple
    takes: int = 1  # frames
    first: Any = None
    leaves_trace: bool = False
    is_for_good: bool = False  # makes what no invariant knows

    def __str__(self):
        return self.name


def fails_cleanly(machine, call):
    """Make a call with ever more memory, until there is enough; return how many frames it took."""
    whole = free_without_guests(machine)
    for count in range(MOST_FRAMES):
        machine.start_over()
        if call.first:
            call.first(machine)
        free = machine["kernel.frames.heap.nr_free"].value
        scarce = Scarce(machine)
        scarce.leave(count)
        before = picture(machine)
        result = call.make(machine)
        if result in call.refusals and not call.leaves_trace:
            expect_unchanged(machine, before)
        scarce.end()
        if result not in call.refusals:
            return count
        invariants.check(machine)
        if not call.leaves_trace:
            assert machine["kernel.frames.heap.nr_free"].value == free
            assert call.make(machine) not in call.refusals, "and then there is enough"
        assert call.is_for_good or free_without_guests(machine) == whole, "something is lost"
    raise AssertionError(f"{call}: {result} even with {count} free frames")


def misses_one(machine, call):
    """Make a call without each of the core's pages that it takes; return how many those are."""
    whole = free_without_guests(machine)
    left = machine["tests.model.failing.nr_until_failure"]
    for count in range(MOST_FRAMES):
        machine.start_over()
        if call.first:
            call.first(machine)
        before = picture(machine)
        left.value = count + 1
        result = call.make(machine)
        if left.value != 0:
            return count
        assert result in call.refusals, f"{call}: {result} without page {count}"
        if not call.leaves_trace:
            expect_unchanged(machine, before)
        invariants.check(machine)
        assert call.is_for_good or free_without_guests(machine) == whole, "something is lost"
    raise AssertionError(f"{call} takes ever more pages")


def free_without_guests(machine):
    """Destroy every guest; return how many frames are free then."""
    for domain in machine.alive():
        if domain.domain_id:
            domctl(machine.dom0, abi.XEN_DOMCTL_destroydomain, domain.domain_id)
    machine["kernel.domain.free.free_buried_domains"]()
    return machine["kernel.frames.heap.nr_free"].value


CONFIG = {"max_vcpus": 4, "max_evtchn_port": 4095, "max_grant_frames": 4}
CONFIG |= {"max_maptrack_frames": 16, "grant_opts": 1}


def small_domain(machine):
    """Make a domain that will have one vCPU, number 3."""
    config = CONFIG | {"max_vcpus": 1}
    assert domctl(machine.dom0, abi.XEN_DOMCTL_createdomain, 0, createdomain=config).domain == 3


def create_vcpu(machine):
    return create_vcpus(machine, 3, 1)


def create_domain(machine):
    return try_domctl(machine.dom0, abi.XEN_DOMCTL_createdomain, 0, createdomain=CONFIG)[0]


def create_vcpus(machine, domain_id=3, count=4):
    fields = {"max": count}
    return try_domctl(machine.dom0, abi.XEN_DOMCTL_max_vcpus, domain_id, max_vcpus=fields)[0]


def empty_domain(machine):
    """Make a domain without vCPUs, number 3 on a fresh machine; return its id."""
    return domctl(machine.dom0, abi.XEN_DOMCTL_createdomain, 0, createdomain=CONFIG).domain


def bind(machine, who=guest):
    at = who(machine).put(abi.evtchn_bind_ipi, vcpu=0)
    result = who(machine).call(EVENT_OP, abi.EVTCHNOP_bind_ipi, at)
    return result or who(machine).get(abi.evtchn_bind_ipi, at).port


def all_ports_in_use(machine, who=guest):
    """Take the ports of the one page of channels that a domain has."""
    last = len(who(machine).domain.evtchn.pages[0].channels) - 1
    while bind(machine, who) < last:
        pass


def unbound(machine):
    at = guest(machine).put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF, remote_dom=0)
    return guest(machine).call(EVENT_OP, abi.EVTCHNOP_alloc_unbound, at)


def virq(machine):
    at = guest(machine).put(abi.evtchn_bind_virq, virq=abi.VIRQ_DEBUG, vcpu=0)
    return guest(machine).call(EVENT_OP, abi.EVTCHNOP_bind_virq, at)


def pirq(machine):
    at = machine.dom0.put(abi.evtchn_bind_pirq, pirq=9)
    return machine.dom0.call(EVENT_OP, abi.EVTCHNOP_bind_pirq, at)


def all_ports_of_dom0_in_use(machine):
    all_ports_in_use(machine, dom0)


def interdomain(machine):
    """Connect to a port of dom0's."""
    fields = {"remote_dom": 0, "remote_port": 1}
    at = guest(machine).put(abi.evtchn_bind_interdomain, **fields)
    return guest(machine).call(EVENT_OP, abi.EVTCHNOP_bind_interdomain, at)


def offered_and_full(machine):
    """A port of dom0's waits for the guest, who has none left."""
    at = machine.dom0.put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF, remote_dom=1)
    assert machine.dom0.call(EVENT_OP, abi.EVTCHNOP_alloc_unbound, at) == 0
    all_ports_in_use(machine)


def setup_table(machine, nr_frames=4):
    who = guest(machine)
    fields = {"dom": abi.DOMID_SELF, "nr_frames": nr_frames, "frame_list": LIST}
    at = who.put(abi.gnttab_setup_table, **fields)
    assert who.call(GRANT_OP, abi.GNTTABOP_setup_table, at, 1) == 0
    return who.get(abi.gnttab_setup_table, at).status


def acquire_grant_frames(machine):
    """Map grant frames of the guest, as a toolstack does."""
    dom0 = machine.dom0
    fields = {"domid": 1, "type": abi.XENMEM_resource_grant_table, "nr_frames": 4}
    at = dom0.put(abi.xen_mem_acquire_resource, frame_list=LIST, **fields)
    return dom0.call(MEMORY_OP, abi.XENMEM_acquire_resource, at)


def map_grant(machine):
    """Map the neighbour's grant 8: the first mapping of all."""
    who = guest(machine)
    fields = {"host_addr": FREE_VA, "flags": abi.GNTMAP_host_map, "ref": GRANTED, "dom": 2}
    at = who.put(abi.gnttab_map_grant_ref, **fields)
    assert who.call(GRANT_OP, abi.GNTTABOP_map_grant_ref, at, 1) == 0
    return who.get(abi.gnttab_map_grant_ref, at).status


def reserve(machine, command, nr=3, **fields):
    """Ask for three frames of the guest's; return how many came."""
    dom0 = machine.dom0
    at = dom0.put([40, 41, 42])
    request = {"extent_start": at, "nr_extents": nr, "domid": 1} | fields
    op = dom0.put(abi.xen_memory_reservation, **request)
    return dom0.call(MEMORY_OP, command, op)


def room_for_more(machine):
    guest(machine).domain.max_pages += 16


def exchange(machine):
    """Give a page away for another."""
    who = guest(machine)
    given, got = who.put([who.pages[FIRST_DATA_PAGE]]), who.put([FIRST_DATA_PAGE])
    fields = {"nr_extents": 1, "domid": abi.DOMID_SELF}
    lists = {"in_": {"extent_start": given, **fields}, "out": {"extent_start": got, **fields}}
    at = who.put(abi.xen_memory_exchange, **lists)
    return who.call(MEMORY_OP, abi.XENMEM_exchange, at)


def unmapped(machine):
    assert guest(machine).call(UPDATE_VA, DATA, 0, abi.UVMF_INVLPG) == 0


def memory_map(machine):
    entry = machine.dom0.put(abi.e820entry, addr=0, size=1 << 20, type=1)
    fields = {"domid": 1, "map": {"nr_entries": 1, "buffer": entry}}
    at = machine.dom0.put(abi.xen_foreign_memory_map, **fields)
    return machine.dom0.call(MEMORY_OP, abi.XENMEM_set_memory_map, at)


def trace_buffers(machine, size=1):
    """Four rings, and a page that describes them."""
    fields = {"cmd": abi.XEN_SYSCTL_TBUFOP_set_size, "size": size}
    version = abi.XEN_SYSCTL_INTERFACE_VERSION
    u = {"tbuf_op": fields}
    at = machine.dom0.put(
        abi.xen_sysctl, cmd=abi.XEN_SYSCTL_tbuf_op, interface_version=version, u=u
    )
    return machine.dom0.call(SYSCTL, at)


NO_SPACE = (abi.GNTST_no_space,)
GENERAL = (abi.GNTST_general_error,)
CALLS = [
    Call("createdomain", create_domain, (ENOMEM,), 8),
    Call("max_vcpus: one", create_vcpu, (ENOMEM,), 4, small_domain),
    Call("max_vcpus", create_vcpus, (ENOMEM,), 13, empty_domain, leaves_trace=True),
    Call("bind_ipi", bind, (ENOMEM,), 1, all_ports_in_use),
    Call("alloc_unbound", unbound, (ENOMEM,), 1, all_ports_in_use),
    Call("bind_virq", virq, (ENOMEM,), 1, all_ports_in_use),
    Call("bind_pirq", pirq, (ENOMEM,), 1, all_ports_of_dom0_in_use, is_for_good=True),
    Call("bind_interdomain", interdomain, (ENOMEM,), 1, offered_and_full),
    Call("setup_table", setup_table, GENERAL, 9, leaves_trace=True),
    Call("acquire_resource", acquire_grant_frames, (-abi.EINVAL, ENOMEM), 9, leaves_trace=True),
    Call("map_grant_ref", map_grant, NO_SPACE, 2, offer, leaves_trace=True),
    Call("exchange", exchange, (ENOMEM,), 1, unmapped),
    Call("set_memory_map", memory_map, (ENOMEM,), 1),
    Call("tbuf set_size", trace_buffers, (-abi.EINVAL,), 5, is_for_good=True),
]
for command in (abi.XENMEM_increase_reservation, abi.XENMEM_populate_physmap):
    CALLS.append(
        Call(
            f"reservation {command}",
            lambda machine, command=command: reserve(machine, command),
            (0, 1, 2),
            3,
            room_for_more,
            leaves_trace=True,
        )
    )


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_fails_cleanly(machine, call):
    """At every allocation."""
    assert fails_cleanly(machine, call) == call.takes


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_misses_one(machine, call):
    """Whatever comes after what failed."""
    machine.program.use_version(ALLOCATE)
    try:
        assert misses_one(machine, call) in (call.takes, 0)
    finally:
        machine.program.use_version(None)


def test_nothing_is_lost_in_what_stays_half_made(machine):
    """vCPUs that were made before memory ran out are used later, or go with their domain."""
    nr_free = machine["kernel.frames.heap.nr_free"]
    free = nr_free.value
    for count in range(8):
        domain_id = empty_domain(machine)
        scarce = Scarce(machine)
        scarce.leave(count)
        assert create_vcpus(machine, domain_id) == ENOMEM
        scarce.end()
        if count % 2:
            assert create_vcpus(machine, domain_id) == 0
        domctl(machine.dom0, abi.XEN_DOMCTL_destroydomain, domain_id)
        machine["kernel.domain.free.free_buried_domains"]()
        assert nr_free.value == free


def test_rings_of_several_pages_need_all_of_them(machine):
    """What a block has too many is given back, where there is a block."""
    scarce = Scarce(machine)
    scarce.leave(1)
    before = picture(machine)
    assert trace_buffers(machine, 3) == -abi.EINVAL
    expect_unchanged(machine, before)
    scarce.end()
    assert trace_buffers(machine, 3) == 0
