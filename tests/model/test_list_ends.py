"""Lists that reach past the end of the address space: nothing of them is done, not even what lies
before. Each has two elements, the first of them the last thing that there is room for.
"""

from collections.abc import Callable
from dataclasses import dataclass

import abi
import pytest

from tests.model.codes import EFAULT
from tests.model.errors import expect_unchanged, guest, other, own_frame, picture, settled
from tests.model.guest import FIRST_DATA_PAGE, make
from tests.model.prepared import unmapped
from tests.model.test_errors_grant import FREE_VA, GRANTED, HOST, OP, SELF, grants, mapped
from tests.model.test_interrupted import TABLE, TREE_L1, update, words

TOP = 1 << 64
L3, L2, L1 = 1, 2, 3  # the guest's first pages
LAST = 511
NEW_PAGE = 20


def map_top(machine):
    """Map one of the guest's pages at the end of its address space."""
    frames = guest(machine).pages
    for table, below in ((L3, L2), (L2, L1), (L1, FIRST_DATA_PAGE)):
        entry = frames[table] << 12 | 8 * LAST
        assert update(machine, (entry, frames[below] << 12 | TABLE)) == 0


def pending(machine):
    """Let port 1 of the guest be pending."""
    who = guest(machine)
    at = who.put(abi.evtchn_bind_ipi, vcpu=0)
    assert who.call(abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_bind_ipi, at) == 0
    assert who.get(abi.evtchn_bind_ipi, at).port == 1
    who.domain.shared_info.evtchn_pending[0] = 1 << 1


def table_to_be(machine):
    words(machine, TREE_L1, {})


@dataclass
class Case:
    """A list: its first element, how a call names the list, and what happens before."""

    name: str
    element: Callable  # of the machine: bytes
    call: Callable  # of the caller and an address: the call
    first: Callable

    def __str__(self):
        return self.name


def a(type_, **fields):
    """Return what makes an element that is a structure."""
    return lambda machine: bytes(make(type_, **settled(machine, fields)))


def grant_list(command):
    return lambda who, at: (OP, command, at, 2)


def poll(who, at):
    op_at = who.put(abi.sched_poll, ports=at, nr_ports=2)
    return abi.__HYPERVISOR_sched_op, abi.SCHEDOP_poll, op_at


def exchange(who, at):
    side = {"nr_extents": 2, "domid": SELF}
    lists = {"in_": {"extent_start": at} | side, "out": {"extent_start": who.put([7, 7])} | side}
    op_at = who.put(abi.xen_memory_exchange, **lists)
    return abi.__HYPERVISOR_memory_op, abi.XENMEM_exchange, op_at


def mmuext(who, at):
    return abi.__HYPERVISOR_mmuext_op, at, 2, 0, SELF


GRANT = {"host_addr": FREE_VA, "flags": HOST, "ref": GRANTED, "dom": 2}
MAPPED = {"host_addr": FREE_VA, "handle": 0}
COPY = {
    "source": {"domid": SELF, "u": {"gmfn": own_frame(FIRST_DATA_PAGE + 1)}},
    "dest": {"domid": 2, "u": {"ref": GRANTED}},
    "flags": abi.GNTCOPY_dest_gref,
    "len": 8,
    "status": 77,
}
PIN = {"cmd": abi.MMUEXT_PIN_L1_TABLE, "arg1": {"mfn": own_frame(TREE_L1)}}
CASES = [
    Case(
        "map", a(abi.gnttab_map_grant_ref, **GRANT), grant_list(abi.GNTTABOP_map_grant_ref), grants
    ),
    Case(
        "unmap",
        a(abi.gnttab_unmap_grant_ref, **MAPPED),
        grant_list(abi.GNTTABOP_unmap_grant_ref),
        mapped(),
    ),
    Case(
        "replace",
        a(abi.gnttab_unmap_and_replace, **MAPPED),
        grant_list(abi.GNTTABOP_unmap_and_replace),
        mapped(),
    ),
    Case("copy", a(abi.gnttab_copy, **COPY), grant_list(abi.GNTTABOP_copy), grants),
    Case("poll", lambda machine: (1).to_bytes(4, "little"), poll, pending),
    Case(
        "exchange",
        lambda machine: guest(machine).pages[NEW_PAGE].to_bytes(8, "little"),
        exchange,
        unmapped(NEW_PAGE),
    ),
    Case("mmuext", a(abi.mmuext_op, **PIN), mmuext, table_to_be),
]


@pytest.mark.parametrize("case", CASES, ids=str)
def test_nothing_is_done(machine, case):
    map_top(machine)
    case.first(machine)
    who, element = guest(machine), case.element(machine)
    who.write(TOP - len(element), element)
    call = case.call(who, TOP - len(element))
    before, written = picture(machine), written_to(machine)
    assert who.call(*call) == EFAULT
    expect_unchanged(machine, before)
    assert written_to(machine) == written


def written_to(machine):
    """What is in the memory that the calls write to: the list's, and the granter's."""
    pages = [each(machine).pages[FIRST_DATA_PAGE] for each in (guest, other)]
    return [bytes(machine.memory.page(page)) for page in pages]
