"""Refusals about grants that the tables by hypercall don't reach with one call.

Something must have been done before, or the refusing part is far down.
"""

import abi
import pytest

from tests.model import invariants
from tests.model.codes import EBUSY, EFAULT
from tests.model.errors import (
    UNMAPPED,
    ReadOnly,
    Wrong,
    check,
    expect_unchanged,
    guest,
    other,
    picture,
)
from tests.model.guest import DATA, FIRST_DATA_PAGE, PRESENT, USER, WRITE, make
from tests.model.prepared import GRANT_OP, UPDATE_VA, at_end_of_memory, many_references
from tests.model.test_errors_grant import DEVICE, GRANTED, HOST, grants, mapped, one
from tests.model.test_errors_grant import FREE_VA as GRANT_VA
from tests.model.test_errors_memory import SELF


def read_only(command, type_, **fields):
    return (GRANT_OP, command, ReadOnly(type_, fields), 1)


def no_device_reference(machine):
    """The granted page takes one reference more, not two."""
    grants(machine)
    many_references(machine, 1, other)


SETUPS = {  # operations on one structure that says how it went
    abi.GNTTABOP_setup_table: abi.gnttab_setup_table,
    abi.GNTTABOP_query_size: abi.gnttab_query_size,
    abi.GNTTABOP_get_version: abi.gnttab_get_version,
    abi.GNTTABOP_set_version: abi.gnttab_set_version,
    abi.GNTTABOP_get_status_frames: abi.gnttab_get_status_frames,
}
ANSWERED = {"version": 1, "dom": SELF}
GRANTS = [
    *(
        Wrong(
            f"{type_.name}: read-only",
            read_only(command, type_, **{n: v for n, v in ANSWERED.items() if n in type_.fields}),
            EFAULT,
            leaves_trace=True,
        )
        for command, type_ in SETUPS.items()
    ),
    Wrong(
        "swap: read-only",
        read_only(abi.GNTTABOP_swap_grant_ref, abi.gnttab_swap_grant_ref, ref_a=9, ref_b=9),
        EFAULT,
        leaves_trace=True,
    ),
    Wrong(
        "unmap: read-only",
        read_only(abi.GNTTABOP_unmap_grant_ref, abi.gnttab_unmap_grant_ref, handle=77),
        EFAULT,
        leaves_trace=True,
    ),
    Wrong(
        "unmap and replace: read-only",
        read_only(abi.GNTTABOP_unmap_and_replace, abi.gnttab_unmap_and_replace, handle=77),
        EFAULT,
        leaves_trace=True,
    ),
]


@pytest.mark.parametrize("row", GRANTS, ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_a_device_mapping_without_a_reference_is_none(machine):
    """The first reference, for the page table, goes back too."""
    no_device_reference(machine)
    call = one(
        abi.GNTTABOP_map_grant_ref,
        abi.gnttab_map_grant_ref,
        ref=GRANTED,
        dom=2,
        flags=HOST | DEVICE,
        host_addr=GRANT_VA,
    )
    who = guest(machine)
    at = who.put(call[2].type, **call[2].fields)
    before = picture(machine)
    assert who.call(call[0], call[1], at, 1) == 0
    assert who.get(abi.gnttab_map_grant_ref, at).status != abi.GNTST_okay
    expect_unchanged(machine, before)


def test_a_granted_page_stays_as_it_was_granted(machine):
    """Mapped for reading by hand: another entry cannot make it writable."""
    mapped(HOST | abi.GNTMAP_readonly)(machine)
    who = guest(machine)
    entry = other(machine).pages[FIRST_DATA_PAGE] << 12 | PRESENT | USER | WRITE
    assert who.call(UPDATE_VA, GRANT_VA, entry, abi.UVMF_INVLPG) == EBUSY
    invariants.check(machine)


def test_an_unmap_that_cannot_be_read_is_not_the_one_before(machine):
    """A grant is unmapped, and mapped again; then unmapped by an address where nothing is."""
    mapped()(machine)
    who = guest(machine)
    for command, type_ in (
        (abi.GNTTABOP_unmap_grant_ref, abi.gnttab_unmap_grant_ref),
        (abi.GNTTABOP_unmap_and_replace, abi.gnttab_unmap_and_replace),
    ):
        at = who.put(type_, host_addr=GRANT_VA, handle=0)
        assert who.call(GRANT_OP, command, at, 1) == 0
        assert who.get(type_, at).status == abi.GNTST_okay
        mapped()(machine)
        before = picture(machine)
        assert who.call(GRANT_OP, command, UNMAPPED, 1) == EFAULT
        expect_unchanged(machine, before)


def test_a_list_of_grants_that_ends_early_is_done_up_to_there(machine):
    """Two entries change places once, not twice."""
    grants(machine)
    who = guest(machine)
    entries = who.domain.grant.shared[0].entries
    entries[9].frame, entries[10].frame = 77, 78
    swap = bytes(make(abi.gnttab_swap_grant_ref, ref_a=9, ref_b=10))
    at = at_end_of_memory(machine, swap)
    assert who.call(GRANT_OP, abi.GNTTABOP_swap_grant_ref, at, 2) == EFAULT
    assert (entries[9].frame, entries[10].frame) == (78, 77)


def test_lists_are_not_written_by_a_request_that_cannot_be_read(machine):
    """What is asked for by an address where nothing is goes nowhere."""
    who = guest(machine)
    fields = {"dom": SELF, "nr_frames": 1, "frame_list": DATA}
    at = who.put(abi.gnttab_setup_table, **fields)
    assert who.call(GRANT_OP, abi.GNTTABOP_setup_table, at, 1) == 0
    assert who.words(DATA, 1) != [0]
    who.write(DATA, bytes(8))
    assert who.call(GRANT_OP, abi.GNTTABOP_setup_table, UNMAPPED, 1) == EFAULT
    assert who.words(DATA, 1) == [0]
