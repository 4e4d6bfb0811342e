"""memory_op: every documented error, and the extents that a reservation does not do."""

import abi
import pytest

from tests.model.codes import (
    E2BIG,
    EACCES,
    EFAULT,
    EINVAL,
    ENOMEM,
    ENOSYS,
    EOPNOTSUPP,
    EPERM,
    ESRCH,
)
from tests.model.errors import (
    CORE,
    NOBODY,
    SELF,
    UNMAPPED,
    Wrong,
    check,
    foreign_frame,
    guest,
    hypercall,
    own_frame,
)
from tests.model.guest import BASE, DATA, PAGE, populate

op = hypercall(abi.__HYPERVISOR_memory_op)
LIST = DATA  # of the caller's memory, past its arguments
LATER = 1 << 6  # in a command: go on at extent 1
QUESTIONS = (
    abi.XENMEM_current_reservation,
    abi.XENMEM_maximum_reservation,
    abi.XENMEM_maximum_gpfn,
)


def listed(*values):
    """Fill the caller's list; return its address."""

    def place(machine):
        words = [value(machine) if callable(value) else value for value in values]
        data = b"".join(word.to_bytes(8, "little") for word in words)
        for each in (guest(machine), machine.dom0):
            each.write(LIST, data)
        return LIST

    return place


def reserve(command, at=LIST, count=1, **fields):
    fields |= {"extent_start": at, "nr_extents": count}
    fields.setdefault("domid", SELF)
    return op(command, abi.xen_memory_reservation, **fields)


def increase(*arguments, **fields):
    return reserve(abi.XENMEM_increase_reservation, *arguments, **fields)


def decrease(*arguments, **fields):
    return reserve(abi.XENMEM_decrease_reservation, *arguments, **fields)


def populates(*arguments, **fields):
    return reserve(abi.XENMEM_populate_physmap, *arguments, **fields)


def exchange(given, wanted, nr_exchanged=0):
    """Exchange extents: (list, count, order, domain) on both sides."""
    names = ("extent_start", "nr_extents", "extent_order", "domid")
    fields = {
        "in_": dict(zip(names, given, strict=True)),
        "out": dict(zip(names, wanted, strict=True)),
        "nr_exchanged": nr_exchanged,
    }
    return op(abi.XENMEM_exchange, abi.xen_memory_exchange, **fields)


def claim(**fields):
    return op(abi.XENMEM_claim_pages, abi.xen_memory_reservation, **fields)


def acquire(**fields):
    fields = {"domid": 1, "type": abi.XENMEM_resource_grant_table} | fields
    return op(abi.XENMEM_acquire_resource, abi.xen_mem_acquire_resource, **fields)


def set_map(**fields):
    return op(abi.XENMEM_set_memory_map, abi.xen_foreign_memory_map, **fields)


def with_map(machine):
    """Let the caller have a memory map of one entry."""
    dom0 = machine.dom0
    entry = dom0.put(abi.e820entry, addr=0, size=4096, type=1)
    request = dom0.put(abi.xen_foreign_memory_map, domid=1, map={"nr_entries": 1, "buffer": entry})
    assert dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_set_memory_map, request) == 0


def claimed(machine):
    """Let the neighbour have a claim on memory."""
    request = machine.dom0.put(abi.xen_memory_reservation, domid=2, nr_extents=30)
    assert machine.dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_claim_pages, request) == 0


def at_its_limit(machine):
    """Let the caller own all that it may."""
    guest(machine).domain.max_pages = guest(machine).domain.tot_pages


def all_claimed(machine):
    """Let the neighbour be promised every free frame."""
    free = machine["kernel.frames.heap.nr_free"].value
    machine.guests[1].domain.outstanding_pages = free
    machine["kernel.frames.claims.nr_claimed"].value = free


def unmapped_by_other(machine):
    """Let the neighbour own a frame that nothing maps."""
    call = (abi.__HYPERVISOR_update_va_mapping, BASE + 20 * PAGE, 0, 0)
    assert machine.guests[1].call(*call) == 0


def add(**fields):
    return op(abi.XENMEM_add_to_physmap, abi.xen_add_to_physmap, **fields)


def remove(**fields):
    return op(abi.XENMEM_remove_from_physmap, abi.xen_remove_from_physmap, **fields)


def unmapped(command, why, by="guest", first=None):
    return Wrong(f"{why}: unmapped", op(command, at=UNMAPPED), EFAULT, by, first)


RESERVATIONS = [  # these answer how many extents they did
    Wrong("reservation: unmapped", op(abi.XENMEM_increase_reservation, at=UNMAPPED), 0),
    Wrong("reservation: no such domain", increase(domid=NOBODY), 0),
    Wrong("reservation: another's", increase(domid=2), 0),
    Wrong("reservation: extents too large", increase(extent_order=10), 0),
    Wrong("reservation: extents beyond all measure", increase(extent_order=70), 0),
    Wrong("reservation: on demand", populates(mem_flags=abi.XENMEMF_populate_on_demand), 0),
    Wrong("reservation: within too few bits", increase(mem_flags=12), 0),
    Wrong("reservation: a list in the core", increase(CORE), 0),
    Wrong("reservation: too many extents", increase(LIST, 1 << 26), 0),
    Wrong("increase: limit", increase(), 0, first=at_its_limit),
    Wrong("increase: promised to others", increase(), 0, first=all_claimed),
    Wrong("populate: a list that is unmapped", populates(UNMAPPED), 0),
    Wrong("decrease: a list that is unmapped", decrease(UNMAPPED), 0),
    Wrong("decrease: another's", decrease(listed(foreign_frame(9))), 0),
    Wrong("decrease: no frame", decrease(listed(1 << 40)), 0),
    Wrong("decrease: the core's", decrease(listed(lambda m: guest(m).domain.shared_info_mfn)), 0),
]

ERRORS = [
    Wrong("no such operation", op(63, at=0), ENOSYS),
    Wrong("maximum_ram_page: an extent", op(abi.XENMEM_maximum_ram_page | LATER, at=0), EINVAL),
    unmapped(abi.XENMEM_exchange, "exchange"),
    Wrong("exchange: too large", exchange((LIST, 1, 10, SELF), (LIST, 1, 10, SELF)), EPERM),
    Wrong("exchange: for too large", exchange((LIST, 1024, 0, SELF), (LIST, 1, 10, SELF)), EPERM),
    Wrong("exchange: done more", exchange((LIST, 1, 0, SELF), (LIST, 1, 0, SELF), 2), EINVAL),
    Wrong("exchange: two domains", exchange((LIST, 1, 0, SELF), (LIST, 1, 0, 2)), EINVAL),
    Wrong("exchange: unequal", exchange((LIST, 2, 0, SELF), (LIST, 1, 0, SELF)), EINVAL),
    Wrong(
        "exchange: given without end",
        exchange((LIST, (1 << 63) + 1, 1, SELF), (LIST, 2, 0, SELF)),
        EINVAL,
    ),
    Wrong(
        "exchange: wanted without end",
        exchange((LIST, 2, 0, SELF), (LIST, (1 << 63) + 1, 1, SELF)),
        EINVAL,
    ),
    Wrong("exchange: in the core", exchange((CORE, 1, 0, SELF), (LIST, 1, 0, SELF)), EFAULT),
    Wrong("exchange: to the core", exchange((LIST, 1, 0, SELF), (CORE, 1, 0, SELF)), EFAULT),
    Wrong(
        "exchange: a list unmapped", exchange((UNMAPPED, 1, 0, SELF), (LIST, 1, 0, SELF)), EFAULT
    ),
    Wrong("exchange: no such domain", exchange((LIST, 1, 0, NOBODY), (LIST, 1, 0, NOBODY)), ESRCH),
    Wrong("exchange: another domain", exchange((LIST, 1, 0, 2), (LIST, 1, 0, 2)), EPERM),
    Wrong(
        "exchange: another's frame",
        exchange((listed(foreign_frame(9)), 1, 0, SELF), (LIST, 1, 0, SELF)),
        EINVAL,
    ),
    Wrong(
        "exchange: another's that nothing maps",
        exchange((listed(foreign_frame(20)), 1, 0, SELF), (LIST, 1, 0, SELF)),
        EINVAL,
        first=unmapped_by_other,
    ),
    Wrong(
        "exchange: no frame", exchange((listed(1 << 39), 1, 0, SELF), (LIST, 1, 0, SELF)), EINVAL
    ),
    Wrong(
        "exchange: a frame in use",
        exchange((listed(own_frame(9)), 1, 0, SELF), (LIST, 1, 0, SELF)),
        EINVAL,
    ),
    unmapped(abi.XENMEM_claim_pages, "claim"),
    Wrong("claim: an extent", op(abi.XENMEM_claim_pages | LATER, at=BASE), EINVAL),
    Wrong("claim: a list", claim(extent_start=LIST, domid=2), EINVAL, "dom0"),
    Wrong("claim: an order", claim(extent_order=1, domid=2), EINVAL, "dom0"),
    Wrong("claim: flags", claim(mem_flags=1, domid=2), EINVAL, "dom0"),
    Wrong("claim: no such domain", claim(domid=NOBODY), EINVAL, "dom0"),
    Wrong("claim: not privileged", claim(domid=1, nr_extents=30), EPERM),
    Wrong("claim: owned already", claim(domid=2, nr_extents=24), EINVAL, "dom0"),
    Wrong("claim: over the limit", claim(domid=2, nr_extents=100_000), EINVAL, "dom0"),
    Wrong("claim: a second one", claim(domid=2, nr_extents=31), EINVAL, "dom0", claimed),
    Wrong(
        "claim: more than there is",
        claim(domid=2, nr_extents=100_000),
        ENOMEM,
        "dom0",
        lambda m: setattr(m.guests[1].domain, "max_pages", 1 << 20),
    ),
    unmapped(abi.XENMEM_acquire_resource, "acquire"),
    Wrong("acquire: a field that must be 0", acquire(pad=1), EINVAL, "dom0"),
    Wrong("acquire: one's own", acquire(domid=0), EPERM, "dom0"),
    Wrong("acquire: one's own by name", acquire(domid=SELF), ESRCH, "dom0"),
    Wrong("acquire: not privileged", acquire(domid=2), EPERM),
    Wrong("acquire: no such domain", acquire(domid=NOBODY), ESRCH, "dom0"),
    Wrong("acquire: no such resource", acquire(type=9, frame_list=LIST), EOPNOTSUPP, "dom0"),
    Wrong("acquire: no frames", acquire(nr_frames=0, frame_list=LIST), EINVAL, "dom0"),
    Wrong("acquire: status frames", acquire(id=1, frame_list=LIST), EINVAL, "dom0"),
    Wrong("acquire: frames without a list", acquire(nr_frames=1), EINVAL, "dom0"),
    Wrong("acquire: too many", acquire(nr_frames=1 << 26, frame_list=LIST), E2BIG, "dom0"),
    Wrong("acquire: past the end", acquire(nr_frames=1, frame=4, frame_list=LIST), EINVAL, "dom0"),
    Wrong(
        "acquire: far past the end",
        acquire(nr_frames=1, frame=(1 << 64) - 1, frame_list=LIST),
        EINVAL,
        "dom0",
    ),
    Wrong("acquire: over the end", acquire(nr_frames=5, frame_list=LIST), EINVAL, "dom0"),
    Wrong("acquire: unmapped list", acquire(nr_frames=1, frame_list=UNMAPPED), EFAULT, "dom0"),
    Wrong("set_memory_map: unmapped", op(abi.XENMEM_set_memory_map, at=UNMAPPED), EFAULT),
    Wrong("set_memory_map: too long", set_map(domid=1, map={"nr_entries": 5000}), EINVAL),
    Wrong("set_memory_map: no such domain", set_map(domid=NOBODY), ESRCH),
    Wrong("set_memory_map: another's", set_map(domid=2), EPERM),
    Wrong("set_memory_map: too large", set_map(domid=1, map={"nr_entries": 205}), ENOMEM, "dom0"),
    Wrong(
        "set_memory_map: unmapped entries",
        set_map(domid=1, map={"nr_entries": 2, "buffer": UNMAPPED}),
        EFAULT,
        "dom0",
    ),
    Wrong("memory_map: none", op(abi.XENMEM_memory_map, at=BASE), ENOSYS),
    unmapped(abi.XENMEM_memory_map, "memory_map", first=with_map),
    Wrong(
        "memory_map: unmapped entries",
        op(abi.XENMEM_memory_map, abi.xen_memory_map, nr_entries=1, buffer=UNMAPPED),
        EFAULT,
        first=with_map,
    ),
    Wrong("machine_memory_map: not privileged", op(abi.XENMEM_machine_memory_map, at=BASE), EPERM),
    unmapped(abi.XENMEM_machine_memory_map, "machine_memory_map", "dom0"),
    Wrong(
        "machine_memory_map: too small",
        op(abi.XENMEM_machine_memory_map, abi.xen_memory_map, nr_entries=0, buffer=LIST),
        EINVAL,
        "dom0",
    ),
    Wrong(
        "machine_memory_map: unmapped entries",
        op(abi.XENMEM_machine_memory_map, abi.xen_memory_map, nr_entries=99, buffer=UNMAPPED),
        EFAULT,
        "dom0",
    ),
    unmapped(abi.XENMEM_machphys_mapping, "machphys_mapping"),
    unmapped(abi.XENMEM_machphys_mfn_list, "machphys_mfn_list"),
    Wrong(
        "machphys_mfn_list: unmapped list",
        op(
            abi.XENMEM_machphys_mfn_list,
            abi.xen_machphys_mfn_list,
            max_extents=1,
            extent_start=UNMAPPED,
        ),
        EFAULT,
    ),
    Wrong("machphys_compat_mfn_list", op(abi.XENMEM_machphys_compat_mfn_list, at=BASE), EOPNOTSUPP),
    unmapped(abi.XENMEM_get_vnumainfo, "get_vnumainfo"),
    Wrong(
        "get_vnumainfo: a field that must be 0",
        op(abi.XENMEM_get_vnumainfo, abi.xen_vnuma_topology_info, domid=SELF, pad=1),
        EINVAL,
    ),
    Wrong(
        "get_vnumainfo: no such domain",
        op(abi.XENMEM_get_vnumainfo, abi.xen_vnuma_topology_info, domid=NOBODY),
        ESRCH,
    ),
    Wrong(
        "get_vnumainfo: another's",
        op(abi.XENMEM_get_vnumainfo, abi.xen_vnuma_topology_info, domid=2),
        EPERM,
    ),
    Wrong(
        "get_vnumainfo: none",
        op(abi.XENMEM_get_vnumainfo, abi.xen_vnuma_topology_info, domid=SELF),
        EOPNOTSUPP,
    ),
    unmapped(abi.XENMEM_add_to_physmap, "add_to_physmap"),
    Wrong("add_to_physmap: foreign", add(domid=SELF, space=abi.XENMAPSPACE_gmfn_foreign), ENOSYS),
    Wrong("add_to_physmap: no such domain", add(domid=NOBODY), ESRCH),
    Wrong("add_to_physmap", add(domid=SELF), EACCES),
    unmapped(abi.XENMEM_remove_from_physmap, "remove_from_physmap"),
    Wrong(
        "remove_from_physmap: an extent",
        op(abi.XENMEM_remove_from_physmap | LATER, abi.xen_remove_from_physmap, domid=SELF),
        EINVAL,
    ),
    Wrong("remove_from_physmap: no such domain", remove(domid=NOBODY), ESRCH),
    Wrong("remove_from_physmap: another's", remove(domid=2, gpfn=foreign_frame(9)), EACCES),
    Wrong("remove_from_physmap: one's own", remove(domid=SELF, gpfn=own_frame(9)), EACCES),
    unmapped(abi.XENMEM_set_pod_target, "set_pod_target"),
    Wrong(
        "set_pod_target: one's own",
        op(abi.XENMEM_set_pod_target, abi.xen_pod_target, domid=SELF),
        EINVAL,
    ),
    Wrong(
        "get_pod_target: no such domain",
        op(abi.XENMEM_get_pod_target, abi.xen_pod_target, domid=NOBODY),
        ESRCH,
        "dom0",
    ),
    Wrong(
        "get_pod_target: never",
        op(abi.XENMEM_get_pod_target, abi.xen_pod_target, domid=1),
        EINVAL,
        "dom0",
    ),
]
for command in QUESTIONS:
    ERRORS += [
        unmapped(command, f"question {command}"),
        Wrong(f"question {command}: an extent", op(command | LATER, at=BASE), EINVAL),
        Wrong(f"question {command}: no such domain", op(command, at=listed(NOBODY)), ESRCH),
        Wrong(f"question {command}: another's", op(command, at=listed(2)), EPERM),
    ]


@pytest.mark.parametrize("row", RESERVATIONS + ERRORS, ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_a_reservation_stops_at_the_first_that_fails(machine):
    """Two extents are given up, the third is another domain's."""
    frames = [guest(machine).pages[number] for number in (20, 21)]
    assert guest(machine).call(abi.__HYPERVISOR_update_va_mapping, BASE + 20 * PAGE, 0, 0) == 0
    assert guest(machine).call(abi.__HYPERVISOR_update_va_mapping, BASE + 21 * PAGE, 0, 0) == 0
    extents = guest(machine).put([*frames, machine.guests[1].pages[9], frames[0]])
    fields = {"extent_start": extents, "nr_extents": 4, "domid": SELF}
    request = guest(machine).put(abi.xen_memory_reservation, **fields)
    call = (abi.__HYPERVISOR_memory_op, abi.XENMEM_decrease_reservation, request)
    assert guest(machine).call(*call) == 2
    assert guest(machine).domain.tot_pages == 22


def test_populate_respects_the_limit_in_the_middle(machine):
    """As many as the limit allows, and no more."""
    domain = guest(machine).domain
    domain.max_pages = domain.tot_pages + 3
    with pytest.raises(AssertionError):
        populate(machine.dom0, guest(machine).id, 5)
    assert domain.tot_pages == domain.max_pages
