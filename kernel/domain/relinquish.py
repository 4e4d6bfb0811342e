"""Taking a dying domain's memory away.

First its vCPUs leave their page tables and descriptor tables, then each frame loses its pin and its
owner's reference. Page tables form no cycles, so this alone brings every type count to zero, and
every frame to the heap that nobody else uses. What others have mapped waits in `relinquished_frame`
until they let go; the last such frame gives up the reference that keeps the `Domain`.
"""

import abi
from kpy import (
    Ptr,
    i64,
    ok,
    require,
)

from kernel.base.ids import Mfn
from kernel.frames.claims import set_claim
from kernel.frames.core_page import free_core_page
from kernel.frames.frame import drop_allocation, frame_of
from kernel.frames.frame_list import set_aside
from kernel.frames.heap import heap_lock
from kernel.frames.page_type import clear_pinned
from kernel.frames.table_type import is_partial, level_of
from kernel.paging.base_pointer import L4
from kernel.paging.demote import demote, drop_table
from kernel.paging.segments import destroy_gdt, destroy_ldt
from kernel.paging.table_ref import put_old_guest_table, release_table
from kernel.state.domain import Domain
from kernel.state.frame_table import Frame, linked_mfn
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

FRAMES_PER_LOOK = 64


def relinquish_memory(d: Ptr[Domain]) -> i64:
    """Give up all memory of a dying domain whose vCPUs will never run again, and that no processor
    has loaded.

    Returns: 0. Errors: -ERESTART, to be called again. Locks: takes the domain's page_lock, in
    pieces.
    """
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            ok(leave_tables(d, v))
    count = 0
    mfn = first_frame(d)
    while mfn is not None:
        ok(relinquish_frame(d, mfn))
        mfn = first_frame(d)
        count += 1
        require(count % FRAMES_PER_LOOK != 0 or not preempt_pending(), -abi.ERESTART)
    set_claim(d, 0)
    with d.page_lock:
        page = d.memory_map
        if page is not None:
            free_core_page(page)
            d.memory_map = None
    return 0


def leave_tables(d: Ptr[Domain], v: Ptr[Vcpu]) -> i64:
    """Give up the page tables and descriptor tables of a vCPU.

    Errors: -ERESTART, to be called again.
    """
    while True:
        ok(put_old_guest_table(v))
        with d.page_lock:
            destroy_gdt(v)
            destroy_ldt(v)
            table = take_base_pointer(v)
            require(table is not None, 0)
            release_table(v, d, table, L4)


def take_base_pointer(v: Ptr[Vcpu]) -> Mfn | None:
    """Take an L4 away from a vCPU, with its references. Returns: None when it has none left."""
    table = v.guest_table
    if table is not None:
        v.guest_table = None
        return table
    table = v.guest_table_user
    v.guest_table_user = None
    return table


def first_frame(d: Ptr[Domain]) -> Mfn | None:
    """Return a frame that is still to be dealt with, None when there is none."""
    with heap_lock:
        first = d.first_frame
        return linked_mfn(first) if first is not None else None


def relinquish_frame(d: Ptr[Domain], mfn: Mfn) -> i64:
    """Take pin, partial state and the owner's reference from a frame.

    Errors: -ERESTART, to be called again.
    """
    with frame_of(mfn, d) as frame:
        require(frame is not None, 0)  # another processor is just freeing it
        with d.page_lock:
            ok(drop_table_uses(d, mfn, frame))
        with heap_lock:
            set_aside(d, mfn)
        drop_allocation(frame)
    return 0


def drop_table_uses(d: Ptr[Domain], mfn: Mfn, frame: Ptr[Frame]) -> i64:
    """Unpin a frame, and take it apart if it is a partial table. Errors: -ERESTART."""
    if clear_pinned(frame):
        drop_table(d, mfn, level_of(mfn))
    if is_partial(mfn):
        return demote(d, mfn, level_of(mfn))
    return 0
