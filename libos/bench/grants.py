"""What it costs to map granted pages and to let them go again, as a back end does for each request.

The measuring guest grants to itself, which the ABI allows. Eleven pages are the segments of one
disk request.
"""

import abi
from kpy import Array, i64, ref, static, truncate, u16, u64

from libos.bench.measure import Row
from libos.bench.rows import Rows
from libos.grant import grant_access
from libos.hypercall import hypercall
from libos.layout import PAGE_SIZE
from libos.pages import alloc_pages

SEGMENTS = 11
SELF = 0  # the initial domain's id

map_rows, unmap_rows = Rows(), Rows()
maps = static(Array[abi.gnttab_map_grant_ref, SEGMENTS])
unmaps = static(Array[abi.gnttab_unmap_grant_ref, SEGMENTS])


def prepare() -> None:
    """Grant pages to ourselves, and choose others in whose place they appear."""
    granted, places = alloc_pages(SEGMENTS), alloc_pages(SEGMENTS)
    for i in range(SEGMENTS):
        maps[i].host_addr = places + i * PAGE_SIZE
        maps[i].flags = abi.GNTMAP_host_map
        maps[i].ref = grant_access(truncate(u16, SELF), granted + i * PAGE_SIZE, False)
        maps[i].dom = SELF
        unmaps[i].host_addr = maps[i].host_addr


def prepare_unmap() -> None:
    map_grants(SEGMENTS)
    note_handles(SEGMENTS)


def map_grants(count: u64) -> i64:
    return hypercall(
        abi.__HYPERVISOR_grant_table_op, abi.GNTTABOP_map_grant_ref, u64(ref(maps)), count, 0, 0
    )


def unmap_grants(count: u64) -> i64:
    return hypercall(
        abi.__HYPERVISOR_grant_table_op, abi.GNTTABOP_unmap_grant_ref, u64(ref(unmaps)), count, 0, 0
    )


def note_handles(count: u64) -> None:
    """Take over what mapping gave, for unmapping."""
    for i in range(count):
        assert maps[i].status == abi.GNTST_okay
        unmaps[i].handle = maps[i].handle


def undo_map_1() -> None:
    note_handles(1)
    assert unmap_grants(1) == 0 and unmaps[0].status == abi.GNTST_okay


def undo_map_11() -> None:
    note_handles(SEGMENTS)
    assert unmap_grants(SEGMENTS) == 0 and unmaps[SEGMENTS - 1].status == abi.GNTST_okay


def undo_unmap_1() -> None:
    map_grants(1)
    note_handles(1)


@map_rows.row("gnttab_map_1", undo=undo_map_1)
def map_1() -> None:
    map_grants(1)


@map_rows.row("gnttab_map_11", undo=undo_map_11)
def map_11() -> None:
    map_grants(SEGMENTS)


@unmap_rows.row("gnttab_unmap_11", undo=prepare_unmap)
def unmap_11() -> None:
    unmap_grants(SEGMENTS)


@unmap_rows.row("gnttab_unmap_1", undo=undo_unmap_1)
def unmap_1() -> None:
    unmap_grants(1)


map_table = static(Array[Row, len(map_rows)], map_rows)
unmap_table = static(Array[Row, len(unmap_rows)], unmap_rows)
