"""grant_table_op: errors of the hypercall, and every status that an operation can have.

The neighbour, domain 2, grants: entry 8 its data page, for domain 1; what is wrong with the others
is told by their names.
"""

import abi
import pytest

from tests.model.codes import EFAULT, EINVAL, ENOSYS, EOPNOTSUPP, EPERM, ESRCH
from tests.model.errors import (
    CORE,
    NOBODY,
    SELF,
    UNMAPPED,
    In,
    Wrong,
    check,
    expect_unchanged,
    foreign_frame,
    guest,
    other,
    own_frame,
    picture,
    settled,
)
from tests.model.guest import BASE, FIRST_DATA_PAGE, PAGE

OP = abi.__HYPERVISOR_grant_table_op
DATA, L1 = FIRST_DATA_PAGE, 3
HOST, DEVICE, READONLY = abi.GNTMAP_host_map, abi.GNTMAP_device_map, abi.GNTMAP_readonly
BY_ENTRY = abi.GNTMAP_contains_pte
GRANTED, READ_ONLY, FOR_DOM0, A_TABLE, NOT_ITS, NO_FRAME, TRANSFER, EMPTY = range(8, 16)
FREE_VA = BASE + 100 * PAGE  # mapped by nothing, below the caller's L1
NOTHING_THERE = 0x5000_0000_0000


def grants(machine):
    """Let the neighbour offer, and the caller have its first maptrack frame, which stays."""
    offer(machine)
    at = guest(machine).put(abi.gnttab_map_grant_ref, ref=EMPTY, dom=2, flags=HOST)
    assert guest(machine).call(OP, abi.GNTTABOP_map_grant_ref, at, 1) == 0


def former_table(machine):
    """Let page 12 have been an L1 of the caller's; it still looks like one, but nobody uses it."""
    grants(machine)
    caller, frame = guest(machine), guest(machine).pages[12]
    call = (abi.__HYPERVISOR_update_va_mapping, BASE + 12 * PAGE, frame << 12 | 5, 0)
    assert caller.call(*call) == 0
    for command in (abi.MMUEXT_PIN_L1_TABLE, abi.MMUEXT_UNPIN_TABLE):
        at = caller.put(abi.mmuext_op, cmd=command, arg1={"mfn": frame})
        assert caller.call(abi.__HYPERVISOR_mmuext_op, at, 1, 0, SELF) == 0


def offer(machine):
    """Let the neighbour's table be full of grants, good and bad."""
    frames = other(machine).pages
    offers = {
        GRANTED: (abi.GTF_permit_access, 1, frames[DATA]),
        READ_ONLY: (abi.GTF_permit_access | abi.GTF_readonly, 1, frames[DATA]),
        FOR_DOM0: (abi.GTF_permit_access, 0, frames[DATA]),
        A_TABLE: (abi.GTF_permit_access, 1, frames[L1]),
        NOT_ITS: (abi.GTF_permit_access, 1, guest(machine).pages[DATA]),
        NO_FRAME: (abi.GTF_permit_access, 1, 1 << 30),
        TRANSFER: (abi.GTF_accept_transfer, 1, frames[DATA]),
        EMPTY: (0, 0, 0),
    }
    entries = other(machine).domain.grant.shared[0].entries
    for number, (flags, domain, frame) in offers.items():
        entry = entries[number]
        entry.flags, entry.domid, entry.frame = flags, domain, frame


def mapped(flags=HOST, number=GRANTED, address=FREE_VA):
    """Let the caller have mapped a grant: handle 0."""

    def do(machine):
        grants(machine)
        fields = {"ref": number, "dom": 2, "flags": flags, "host_addr": address}
        at = guest(machine).put(abi.gnttab_map_grant_ref, **fields)
        assert guest(machine).call(OP, abi.GNTTABOP_map_grant_ref, at, 1) == 0
        done = guest(machine).get(abi.gnttab_map_grant_ref, at)
        assert (done.status, done.handle) == (abi.GNTST_okay, 0)

    return do


def one(command, type_, count=1, **fields):
    return (OP, command, In(type_, fields), count)


def setup(**fields):
    return one(abi.GNTTABOP_setup_table, abi.gnttab_setup_table, **fields)


def flush(**fields):
    return one(abi.GNTTABOP_cache_flush, abi.gnttab_cache_flush, **fields)


REFUSED = [
    Wrong("no such operation", (OP, 99, BASE, 1), ENOSYS),
    Wrong("transfer", (OP, abi.GNTTABOP_transfer, BASE, 1), ENOSYS),
    Wrong("a negative count", (OP, abi.GNTTABOP_copy, BASE, 1 << 31), EINVAL),
    Wrong("unknown bits", (OP, abi.GNTTABOP_copy | 1 << 12, BASE, 1), EINVAL),
    Wrong("setup_table: two", setup(count=2), EINVAL),
    Wrong("setup_table: unmapped", (OP, abi.GNTTABOP_setup_table, UNMAPPED, 1), EFAULT),
    Wrong("query_size: two", (OP, abi.GNTTABOP_query_size, BASE, 2), EINVAL),
    Wrong("query_size: unmapped", (OP, abi.GNTTABOP_query_size, UNMAPPED, 1), EFAULT),
    Wrong("status_frames: two", (OP, abi.GNTTABOP_get_status_frames, BASE, 2), EINVAL),
    Wrong("status_frames: unmapped", (OP, abi.GNTTABOP_get_status_frames, UNMAPPED, 1), EFAULT),
    Wrong("get_version: unmapped", (OP, abi.GNTTABOP_get_version, UNMAPPED, 1), EFAULT),
    Wrong(
        "get_version: no such domain",
        one(abi.GNTTABOP_get_version, abi.gnttab_get_version, dom=NOBODY),
        ESRCH,
    ),
    Wrong(
        "get_version: another's",
        one(abi.GNTTABOP_get_version, abi.gnttab_get_version, dom=2),
        EPERM,
    ),
    Wrong("set_version: unmapped", (OP, abi.GNTTABOP_set_version, UNMAPPED, 1), EFAULT),
    Wrong(
        "set_version: 2", one(abi.GNTTABOP_set_version, abi.gnttab_set_version, version=2), ENOSYS
    ),
    Wrong(
        "set_version: 3", one(abi.GNTTABOP_set_version, abi.gnttab_set_version, version=3), EINVAL
    ),
    Wrong("cache_flush: unmapped", (OP, abi.GNTTABOP_cache_flush, UNMAPPED, 1), EFAULT),
    Wrong("cache_flush: leaves the page", flush(offset=4000, length=97, op=2), EINVAL),
    Wrong("cache_flush: unknown", flush(length=1, op=4), EINVAL),
    Wrong("cache_flush: invalidate", flush(length=1, op=abi.GNTTAB_CACHE_INVAL), EOPNOTSUPP),
    Wrong(
        "cache_flush: by grant",
        flush(length=1, op=abi.GNTTAB_CACHE_CLEAN | abi.GNTTAB_CACHE_SOURCE_GREF),
        EOPNOTSUPP,
    ),
]
ARRAYS = {
    "map": abi.GNTTABOP_map_grant_ref,
    "unmap": abi.GNTTABOP_unmap_grant_ref,
    "replace": abi.GNTTABOP_unmap_and_replace,
    "copy": abi.GNTTABOP_copy,
    "swap": abi.GNTTABOP_swap_grant_ref,
}
REFUSED += [
    Wrong(f"{name}: at {where:#x}", (OP, command, where, 1), EFAULT)
    for name, command in ARRAYS.items()
    for where in (UNMAPPED, CORE)
]
REFUSED += [
    Wrong(f"{name}: without end", (OP, command, BASE, (1 << 31) - 1), EFAULT)
    for name, command in ARRAYS.items()
]


@pytest.mark.parametrize("row", REFUSED, ids=str)
def test_refused(machine, row):
    check(machine, row)


def mapping(number=GRANTED, flags=HOST, dom=2, host_addr=FREE_VA):
    """A row's structure for map_grant_ref."""
    fields = {"ref": number, "flags": flags, "dom": dom, "host_addr": host_addr}
    return (abi.GNTTABOP_map_grant_ref, abi.gnttab_map_grant_ref, fields)


def unmapping(handle=0, host_addr=FREE_VA, dev_bus_addr=0):
    fields = {"handle": handle, "host_addr": host_addr, "dev_bus_addr": dev_bus_addr}
    return (abi.GNTTABOP_unmap_grant_ref, abi.gnttab_unmap_grant_ref, fields)


def replacing(new_addr, host_addr=FREE_VA):
    fields = {"handle": 0, "host_addr": host_addr, "new_addr": new_addr}
    return (abi.GNTTABOP_unmap_and_replace, abi.gnttab_unmap_and_replace, fields)


def swapping(a, b):
    return (abi.GNTTABOP_swap_grant_ref, abi.gnttab_swap_grant_ref, {"ref_a": a, "ref_b": b})


def copying(source, dest, length=8, source_offset=0, dest_offset=0):
    """Copy between sides: (domain, grant) or (domain, None, frame)."""
    fields = {"len": length, "flags": 0}
    for name, side, bit, offset in (
        ("source", source, abi.GNTCOPY_source_gref, source_offset),
        ("dest", dest, abi.GNTCOPY_dest_gref, dest_offset),
    ):
        domain, number, *frame = side
        named = {"gmfn": frame[0]} if frame else {"ref": number}
        fields[name] = {"u": named, "domid": domain, "offset": offset}
        fields["flags"] |= 0 if frame else bit
    return (abi.GNTTABOP_copy, abi.gnttab_copy, fields)


def about(command, type_, **fields):
    return (command, type_, fields)


MINE = (SELF, None, own_frame(DATA))
BAD_REF, ERROR = abi.GNTST_bad_gntref, abi.GNTST_general_error
BAD_DOMAIN, DENIED = abi.GNTST_bad_domain, abi.GNTST_permission_denied
BAD_HANDLE, BAD_COPY = abi.GNTST_bad_handle, abi.GNTST_bad_copy_arg
BAD_PAGE = abi.GNTST_bad_page

# Why, the structure, its status, and what happened before.
STATUSES = [
    ("map: neither host nor device", mapping(flags=READONLY), BAD_REF, grants),
    ("map: no such domain", mapping(dom=NOBODY), BAD_DOMAIN, grants),
    ("map: from oneself by name", mapping(dom=SELF), BAD_DOMAIN, grants),
    ("map: no such entry", mapping(512), BAD_REF, grants),
    ("map: far past the table", mapping(1 << 20), BAD_REF, grants),
    ("map: an empty entry", mapping(EMPTY), ERROR, grants),
    ("map: for another domain", mapping(FOR_DOM0), ERROR, grants),
    ("map: a transfer", mapping(TRANSFER), ERROR, grants),
    ("map: writable where it may only be read", mapping(READ_ONLY), ERROR, grants),
    ("map: writable, but a page table", mapping(A_TABLE), ERROR, grants),
    ("map: a frame that the granter has not", mapping(NOT_ITS), BAD_PAGE, grants),
    ("map: no frame", mapping(NO_FRAME), BAD_PAGE, grants),
    ("map: no page table there", mapping(host_addr=NOTHING_THERE), ERROR, grants),
    ("map: the core's", mapping(host_addr=CORE), ERROR, grants),
    ("map: entry not aligned", mapping(flags=HOST | BY_ENTRY, host_addr=4), ERROR, grants),
    (
        "map: entry not aligned, in its own L1",
        mapping(flags=HOST | BY_ENTRY, host_addr=lambda m: guest(m).pages[L1] << 12 | 804),
        ERROR,
        grants,
    ),
    (
        "map: entry in a former L1",
        mapping(flags=HOST | BY_ENTRY, host_addr=lambda m: guest(m).pages[12] << 12),
        ERROR,
        former_table,
    ),
    ("map: entry in no frame", mapping(flags=HOST | BY_ENTRY, host_addr=1 << 51), ERROR, grants),
    (
        "map: entry in another's table",
        mapping(flags=HOST | BY_ENTRY, host_addr=lambda m: other(m).pages[L1] << 12),
        ERROR,
        grants,
    ),
    (
        "map: entry in a data page",
        mapping(flags=HOST | BY_ENTRY, host_addr=lambda m: guest(m).pages[DATA] << 12),
        ERROR,
        grants,
    ),
    (
        "map: entry in an L2",
        mapping(flags=HOST | BY_ENTRY, host_addr=lambda m: guest(m).pages[2] << 12),
        ERROR,
        grants,
    ),
    ("unmap: a handle never given", unmapping(1), BAD_HANDLE, mapped()),
    ("unmap: far past the handles", unmapping(1 << 30), BAD_HANDLE, mapped()),
    ("unmap: another address", unmapping(host_addr=BASE + 9 * PAGE), ERROR, mapped()),
    ("unmap: no page table there", unmapping(host_addr=NOTHING_THERE), ERROR, mapped()),
    (
        "unmap: another device address",
        unmapping(host_addr=0, dev_bus_addr=PAGE),
        abi.GNTST_bad_dev_addr,
        mapped(HOST | DEVICE),
    ),
    ("replace: the same address", replacing(FREE_VA), ERROR, mapped()),
    ("replace: by nothing that is mapped", replacing(NOTHING_THERE), ERROR, mapped()),
    ("replace: another address", replacing(BASE + 9 * PAGE, BASE + 10 * PAGE), ERROR, mapped()),
    ("swap: no such entry", swapping(0, 512), BAD_REF, None),
    ("swap: no such entry", swapping(512, 0), BAD_REF, None),
    ("copy: no such domain", copying((NOBODY, GRANTED), MINE), BAD_DOMAIN, grants),
    ("copy: another's frame", copying((2, None, foreign_frame(DATA)), MINE), DENIED, grants),
    ("copy: no such entry", copying((2, 512), MINE), BAD_REF, grants),
    ("copy: to a read-only grant", copying(MINE, (2, READ_ONLY)), ERROR, grants),
    ("copy: to a page table", copying(MINE, (SELF, None, own_frame(L1))), ERROR, grants),
    ("copy: to a granted page table", copying(MINE, (2, A_TABLE)), ERROR, grants),
    ("copy: from no frame", copying((SELF, None, 1 << 40), MINE), BAD_PAGE, grants),
    ("copy: by name another's", copying((SELF, None, foreign_frame(9)), MINE), BAD_PAGE, grants),
    ("copy: over the source's end", copying(MINE, (2, GRANTED), 97, 4000), BAD_COPY, grants),
    ("copy: over the end", copying(MINE, (2, GRANTED), 97, 0, 4000), BAD_COPY, grants),
    (
        "setup_table: no such domain",
        about(abi.GNTTABOP_setup_table, abi.gnttab_setup_table, dom=NOBODY),
        BAD_DOMAIN,
        None,
    ),
    (
        "setup_table: another's",
        about(abi.GNTTABOP_setup_table, abi.gnttab_setup_table, dom=2),
        DENIED,
        None,
    ),
    (
        "setup_table: too many frames",
        about(abi.GNTTABOP_setup_table, abi.gnttab_setup_table, dom=SELF, nr_frames=5),
        ERROR,
        None,
    ),
    (
        "setup_table: a list unmapped",
        about(
            abi.GNTTABOP_setup_table,
            abi.gnttab_setup_table,
            dom=SELF,
            nr_frames=1,
            frame_list=UNMAPPED,
        ),
        abi.GNTST_bad_virt_addr,
        None,
    ),
    (
        "query_size: no such domain",
        about(abi.GNTTABOP_query_size, abi.gnttab_query_size, dom=NOBODY),
        BAD_DOMAIN,
        None,
    ),
    (
        "query_size: another's",
        about(abi.GNTTABOP_query_size, abi.gnttab_query_size, dom=2),
        DENIED,
        None,
    ),
    (
        "status frames: no such domain",
        about(abi.GNTTABOP_get_status_frames, abi.gnttab_get_status_frames, dom=NOBODY),
        BAD_DOMAIN,
        None,
    ),
    (
        "status frames: another's",
        about(abi.GNTTABOP_get_status_frames, abi.gnttab_get_status_frames, dom=2),
        DENIED,
        None,
    ),
    (
        "status frames: any",
        about(abi.GNTTABOP_get_status_frames, abi.gnttab_get_status_frames, dom=SELF, nr_frames=1),
        ERROR,
        None,
    ),
]


@pytest.mark.parametrize(
    ("call", "status", "first"), [row[1:] for row in STATUSES], ids=[row[0] for row in STATUSES]
)
def test_status(machine, call, status, first):
    """The hypercall succeeds; the structure says what went wrong, and nothing else changes."""
    if first:
        first(machine)
    command, type_, fields = call
    at = guest(machine).put(type_, **settled(machine, fields))
    before = picture(machine)
    assert guest(machine).call(OP, command, at, 1) == 0
    assert guest(machine).get(type_, at).status == status
    expect_unchanged(machine, before)


def test_a_grant_in_use_is_not_swapped(machine):
    """Nor is it while only one of the two is."""
    mapped()(machine)
    for pair in ((GRANTED, EMPTY), (EMPTY, GRANTED)):
        at = other(machine).put(abi.gnttab_swap_grant_ref, ref_a=pair[0], ref_b=pair[1])
        assert other(machine).call(OP, abi.GNTTABOP_swap_grant_ref, at, 1) == 0
        assert other(machine).get(abi.gnttab_swap_grant_ref, at).status == abi.GNTST_eagain


def test_handles_run_out(machine):
    """As many as the toolstack allowed: then the status says so, and nothing is pinned."""
    offer(machine)
    guest(machine).domain.grant.max_maptrack_frames = 0
    command, type_, fields = mapping()
    at = guest(machine).put(type_, **fields)
    before = picture(machine)
    assert guest(machine).call(OP, command, at, 1) == 0
    assert guest(machine).get(type_, at).status == abi.GNTST_no_space
    assert picture(machine) == before


def test_a_grant_in_use_serves_one_domain(machine):
    """The granter names another domain while the first still maps the frame: it has to wait."""
    mapped()(machine)
    other(machine).domain.grant.shared[0].entries[GRANTED].domid = 0
    at = machine.dom0.put(
        abi.gnttab_map_grant_ref, ref=GRANTED, dom=2, flags=HOST, host_addr=BASE + 100 * PAGE
    )
    assert machine.dom0.call(OP, abi.GNTTABOP_map_grant_ref, at, 1) == 0
    assert machine.dom0.get(abi.gnttab_map_grant_ref, at).status == ERROR


def test_dom0_sees_the_tables_of_others(machine):
    """So that it can grant in their name."""
    at = machine.dom0.put(abi.gnttab_query_size, dom=1)
    assert machine.dom0.call(OP, abi.GNTTABOP_query_size, at, 1) == 0
    assert machine.dom0.get(abi.gnttab_query_size, at).status == abi.GNTST_okay
