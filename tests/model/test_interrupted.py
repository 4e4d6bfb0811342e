"""Long calls, interrupted wherever they look for more urgent work.

`goes_on` makes a call once in peace, then lets all looks find some from the first one on, from the
second on, and so on: each time the call stops (the guest makes it again), has the same result, and
leaves the machine as it would have been. Whoever writes a call that can stop half way adds a row.
"""

from collections.abc import Callable
from dataclasses import dataclass

import abi
import pytest

from tests.model import invariants
from tests.model.errors import SELF, guest, other, picture
from tests.model.guest import BASE, PAGE, PRESENT, USER, WRITE, create_guest, make, try_domctl
from tests.model.test_errors_grant import GRANTED, offer

MMUEXT_OP, MMU_UPDATE = abi.__HYPERVISOR_mmuext_op, abi.__HYPERVISOR_mmu_update
MEMORY_OP, EVENT_OP = abi.__HYPERVISOR_memory_op, abi.__HYPERVISOR_event_channel_op
GRANT_OP, UPDATE_VA = abi.__HYPERVISOR_grant_table_op, abi.__HYPERVISOR_update_va_mapping
ALWAYS = (1 << 64) - 1
MOST_LOOKS = 40
TREE_L2, TREE_L1, TREE_L3, TREE_L4 = 10, 11, 12, 13  # the guest's pages
EMPTY_L2S = range(20, 60)
NR_GRANTS = 66  # that a guest maps
NR_CHILDREN = 50  # of the tree's L2: all the same L1
TABLE = PRESENT | WRITE | USER
LIST = BASE + 20 * PAGE


@dataclass
class Call:
    """A call that can stop half way: at how many looks at least, and what happens before."""

    name: str
    make: Callable
    looks: int
    first: Callable | None = None
    leaves_cpu_idle: bool = False  # an idle processor looks too, and nothing stops there
    stops: int = 0  # how often at least when there is always something; 0: as often as it looks

    def __str__(self):
        return self.name


def run(machine, call, urgent):
    """Make a call on a fresh machine; return its result, what is left, how often it stopped and
    how often it looked.

    Args: urgent: a bit for each look, whether it finds something; the highest is set, or none.
    """
    machine.start_over()
    if call.first:
        call.first(machine)
    repeats = machine["tests.model.processors.nr_repeats"]
    choices = machine["tests.model.processors.preempt_choices"]
    before = repeats.value
    machine.preempt(urgent)
    result = call.make(machine)
    looks = 64 - choices.value.bit_length()
    machine.preempt(0)
    invariants.check(machine)
    return result, picture(machine), repeats.value - before, looks


def goes_on(machine, call):
    """Interrupt a call at each of its looks; return at how many it stops."""
    result, left, stops, looks_in_peace = run(machine, call, 1 << 63)
    assert stops == 0 and result >= 0
    where_it_stops = 0
    for look in range(MOST_LOOKS):
        again, then_left, stops, looks = run(machine, call, ALWAYS << look & ALWAYS)
        assert again == result
        expect_same(then_left, left)
        if looks <= look:
            break
        assert stops > 0 or call.leaves_cpu_idle, f"look {look} changes nothing"
        assert stops <= looks_in_peace, "it goes on where it was, and does not begin again"
        assert look > 0 or stops >= (call.stops or call.looks)
        where_it_stops += stops > 0
    return where_it_stops


def expect_same(found, left):
    """Compare with what was left by the call in peace."""
    assert left.keys() == found.keys()
    changed = {key: (left[key], found[key]) for key in left if left[key] != found[key]}
    assert not changed, str(changed)[:400]


# Page tables


def words(machine, number, entries):
    """Write a page of the guest's that becomes a page table, and map it for reading."""
    who, page = guest(machine), [0] * 512
    for index, entry in entries.items():
        page[index] = entry
    who.write(BASE + number * PAGE, b"".join(word.to_bytes(8, "little") for word in page))
    entry = who.pages[number] << 12 | PRESENT | USER
    assert who.call(UPDATE_VA, BASE + number * PAGE, entry, abi.UVMF_INVLPG) == 0


def tree(machine):
    """A tree of tables with one wide level, below an L4 that also maps the kernel."""
    frames = guest(machine).pages
    kernel = machine.memory.page(frames[0])[511]
    words(machine, TREE_L1, {})
    words(machine, TREE_L2, {i: frames[TREE_L1] << 12 | TABLE for i in range(NR_CHILDREN)})
    words(machine, TREE_L3, {0: frames[TREE_L2] << 12 | TABLE})
    words(machine, TREE_L4, {0: frames[TREE_L3] << 12 | TABLE, 511: kernel & ~0x60})


def mmuext(machine, *operations, who=guest):
    """Make a list of operations: (command, a page of the guest's), or (command, None)."""
    data = b""
    for command, number in operations:
        mfn = guest(machine).pages[number] if number is not None else 0
        data += bytes(make(abi.mmuext_op, cmd=command, arg1={"mfn": mfn}))
    caller = who(machine)
    at = caller.put(data)
    return caller.call(MMUEXT_OP, at, len(operations), 0, SELF)


def pin(machine):
    return mmuext(machine, (abi.MMUEXT_PIN_L4_TABLE, TREE_L4))


def pinned(machine):
    tree(machine)
    assert pin(machine) == 0


def unpin(machine):
    """And then something that must wait for it."""
    return mmuext(machine, (abi.MMUEXT_UNPIN_TABLE, TREE_L4), (abi.MMUEXT_TLB_FLUSH_LOCAL, None))


def flush_often(machine):
    return mmuext(machine, *[(abi.MMUEXT_TLB_FLUSH_LOCAL, None)] * 5)


def empty_tables(machine):
    """An L3 of many tables, all of them empty: there is no entry to look after."""
    machine.guests[0] = create_guest(machine, nr_pages=64)
    frames = guest(machine).pages
    for number in EMPTY_L2S:
        words(machine, number, {})
    words(machine, TREE_L3, {i: frames[n] << 12 | TABLE for i, n in enumerate(EMPTY_L2S)})


def pin_empty(machine):
    return mmuext(machine, (abi.MMUEXT_PIN_L3_TABLE, TREE_L3))


def pinned_empty(machine):
    empty_tables(machine)
    assert pin_empty(machine) == 0


def unpin_empty(machine):
    return mmuext(machine, (abi.MMUEXT_UNPIN_TABLE, TREE_L3))


def run_on_tree(machine):
    return mmuext(machine, (abi.MMUEXT_NEW_BASEPTR, TREE_L4))


def user_runs_on_tree(machine):
    return mmuext(machine, (abi.MMUEXT_NEW_USER_BASEPTR, TREE_L4))


def running_on_tree(machine):
    tree(machine)
    assert run_on_tree(machine) == 0


def run_on_first(machine):
    """Leave the tree, which goes with that."""
    return mmuext(machine, (abi.MMUEXT_NEW_BASEPTR, 0))


def update(machine, *requests):
    at = guest(machine).put([word for request in requests for word in request])
    return guest(machine).call(MMU_UPDATE, at, len(requests), 0, SELF)


def cut_off(machine):
    """Clear the entry that leads to the wide level, and another one, which must wait."""
    l4 = guest(machine).pages[TREE_L4] << 12
    return update(machine, (l4, 0), (l4 | 8, 0))


def graft(machine):
    """Make an entry that leads to the wide level, in the tables in force."""
    l3 = guest(machine).pages[TREE_L3] << 12 | TABLE
    return update(machine, (guest(machine).pages[0] << 12 | 8, l3))


def cut_all(machine):
    """Clear entries that lead to tables: each of them is a walk."""
    l2 = guest(machine).pages[TREE_L2] << 12
    return update(machine, *[(l2 | 8 * i, 0) for i in range(6)])


def update_often(machine):
    l1 = guest(machine).pages[3] << 12
    return update(machine, *[(l1 | 8 * 400, 0)] * 100)


# Domains


def destroy(machine, domain_id=1):
    return try_domctl(machine.dom0, abi.XEN_DOMCTL_destroydomain, domain_id)[0]


def with_channels_and_grants(machine):
    """Give the guest ports, the last one connected with its neighbour's, a pinned tree, and grants
    of the neighbour's mapped, more than are given back between two looks.
    """
    pinned(machine)
    ports(machine)
    connected(machine)
    offer(machine)
    for number in range(NR_GRANTS):
        fields = {"host_addr": BASE + (100 + number) * PAGE, "ref": GRANTED}
        fields |= {"flags": abi.GNTMAP_host_map, "dom": other(machine).id}
        at = guest(machine).put(abi.gnttab_map_grant_ref, **fields)
        assert guest(machine).call(GRANT_OP, abi.GNTTABOP_map_grant_ref, at, 1) == 0
        assert guest(machine).get(abi.gnttab_map_grant_ref, at).status == 0


def connected(machine):
    """Connect a port of the guest's with one that its neighbour offers."""
    at = other(machine).put(abi.evtchn_alloc_unbound, dom=SELF, remote_dom=guest(machine).id)
    assert other(machine).call(EVENT_OP, abi.EVTCHNOP_alloc_unbound, at) == 0
    port = other(machine).get(abi.evtchn_alloc_unbound, at).port
    fields = {"remote_dom": other(machine).id, "remote_port": port}
    at = guest(machine).put(abi.evtchn_bind_interdomain, **fields)
    assert guest(machine).call(EVENT_OP, abi.EVTCHNOP_bind_interdomain, at) == 0


def in_user_mode_tables(machine):
    """The guest runs on the tree, its user mode too."""
    running_on_tree(machine)
    assert user_runs_on_tree(machine) == 0


def in_two_address_spaces(machine):
    """The guest's kernel runs on the tree, its user mode on what it began with."""
    running_on_tree(machine)
    assert mmuext(machine, (abi.MMUEXT_NEW_USER_BASEPTR, 0)) == 0


def large_domain(machine):
    assert create_guest(machine, nr_pages=140).id == 3


def second_vcpu(machine):
    """The guest of the tree has a second vCPU, without registers."""
    machine.guests[0] = create_guest(machine, nr_vcpus=2, initialised=1)
    tree(machine)


def start_second_vcpu(machine, user=0):
    """Give it the tree for its page tables."""
    context = make(abi.vcpu_guest_context)
    context.flags = abi.VGCF_in_kernel
    context.ctrlreg[3] = guest(machine).pages[TREE_L4 if not user else 0] << 12
    if user:
        context.ctrlreg[1] = guest(machine).pages[TREE_L4] << 12 | 1
    fields = {"vcpu": 1, "ctxt": machine.dom0.put(bytes(context))}
    command = abi.XEN_DOMCTL_setvcpucontext
    return try_domctl(machine.dom0, command, guest(machine).id, vcpucontext=fields)[0]


def start_with_user_tables(machine):
    return start_second_vcpu(machine, user=1)


def ports(machine):
    for _ in range(3):
        at = guest(machine).put(abi.evtchn_bind_ipi, vcpu=0)
        assert guest(machine).call(EVENT_OP, abi.EVTCHNOP_bind_ipi, at) == 0


def reset(machine):
    at = guest(machine).put(abi.evtchn_reset, dom=SELF)
    return guest(machine).call(EVENT_OP, abi.EVTCHNOP_reset, at)


# Memory


def reserve(machine, command, frames, order=0):
    dom0 = machine.dom0
    dom0.write(LIST, b"".join(frame.to_bytes(8, "little") for frame in frames))
    request = {"extent_start": LIST, "nr_extents": len(frames), "extent_order": order}
    op = dom0.put(abi.xen_memory_reservation, domid=SELF, **request)
    return dom0.call(MEMORY_OP, command, op)


def populate(machine):
    return reserve(machine, abi.XENMEM_populate_physmap, range(40, 80))


def populate_large(machine):
    return reserve(machine, abi.XENMEM_populate_physmap, [64, 80, 96], 4)


def decrease(machine):
    return reserve(machine, abi.XENMEM_decrease_reservation, machine.more)


def populated(machine):
    assert populate(machine) == 40
    machine.more = machine.dom0.words(LIST, 40)


def unmapped(machine):
    for number in range(16, 20):
        assert guest(machine).call(UPDATE_VA, BASE + number * PAGE, 0, abi.UVMF_INVLPG) == 0


def exchange(machine):
    who = guest(machine)
    given, got = who.put([who.pages[n] for n in range(16, 20)]), who.put(list(range(16, 20)))
    fields = {"nr_extents": 4, "domid": SELF}
    lists = {"in_": {"extent_start": given, **fields}, "out": {"extent_start": got, **fields}}
    at = who.put(abi.xen_memory_exchange, **lists)
    return who.call(MEMORY_OP, abi.XENMEM_exchange, at)


def multicall(machine):
    """Three calls, of which the second can stop by itself."""
    who = guest(machine)
    flush = bytes(make(abi.mmuext_op, cmd=abi.MMUEXT_TLB_FLUSH_LOCAL))
    at = who.put(flush * 3)
    entries = [make(abi.multicall_entry, op=abi.__HYPERVISOR_xen_version) for _ in range(3)]
    entries[1].op = MMUEXT_OP
    for number, value in enumerate((at, 3, 0, SELF)):
        entries[1].args[number] = value
    at = who.put(b"".join(map(bytes, entries)))
    return who.call(abi.__HYPERVISOR_multicall, at, 3)


def write_to_console(machine):
    """More than is printed at once."""
    at = machine.dom0.put(b"." * 499 + b"\n")
    return machine.dom0.call(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 500, at)


CALLS = [
    Call("pin", pin, 3, tree),
    Call("unpin", unpin, 4, pinned, stops=3),
    Call("pin empty tables", pin_empty, 2, empty_tables),
    Call("unpin empty tables", unpin_empty, 2, pinned_empty),
    Call("flushes", flush_often, 4),
    Call("new base pointer", run_on_tree, 3, tree),
    Call("new user base pointer", user_runs_on_tree, 3, tree),
    Call("leave a base pointer", run_on_first, 3, running_on_tree),
    Call("cut a subtree off", cut_off, 3, pinned),
    Call("cut tables off", cut_all, 5, pinned),
    Call("add a subtree", graft, 3, tree),
    Call("updates", update_often, 3),
    Call("destroy with a pinned tree", destroy, 14, with_channels_and_grants, True, 11),
    Call("destroy on a tree", destroy, 5, in_user_mode_tables, True, 2),
    Call("destroy in two address spaces", destroy, 3, in_two_address_spaces, True, 2),
    Call("destroy a large one", lambda m: destroy(m, 3), 2, large_domain, True),
    Call("start a vCPU", start_second_vcpu, 3, second_vcpu),
    Call("start a vCPU with user tables", start_with_user_tables, 3, second_vcpu),
    Call("reset", reset, 3, ports),
    Call("populate", populate, 2),
    Call("populate large extents", populate_large, 2),
    Call("decrease", decrease, 2, populated),
    Call("exchange", exchange, 3, unmapped),
    Call("multicall", multicall, 2),
    Call("console", write_to_console, 3),
]


@pytest.mark.parametrize("call", CALLS, ids=str)
def test_goes_on(machine, call):
    assert goes_on(machine, call) >= call.looks


def test_a_processor_that_shall_reschedule_stops_too(machine):
    """Not an interrupt, but the scheduler wants it."""
    repeats = machine["tests.model.processors.nr_repeats"]
    before = repeats.value
    for number in range(4):
        machine["kernel.x86.percpu.cpu_by_id"](number).reschedule = True
    assert populate(machine) == 40
    assert repeats.value == before + 1
