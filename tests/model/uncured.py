"""Functions of the core as they were before a hole was mended (kernel Python):
tests/model/test_holes.py must find each.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    atomic_cas,
    atomic_load,
    i64,
    noinline,
    ref,
    require,
    trusted,
    u32,
    u64,
)

from kernel.base.guest_memory import copy_to_guest
from kernel.base.ids import Mfn
from kernel.domain.relinquish import drop_table_uses
from kernel.frames.core_page import alloc_core_page
from kernel.frames.frame import (
    REFERENCE_MASK,
    drop_allocation,
    page_at,
    put_reference,
    take_reference,
)
from kernel.frames.frame_list import set_aside
from kernel.frames.heap import heap_lock
from kernel.frames.page_type import (
    TYPE_BUSY,
    TYPE_COUNT_MASK,
    TYPE_FRESH,
    TYPE_ONE,
    TYPE_PARTIAL,
    TYPE_READY,
    PGT_none,
    PGT_partial,
    PGT_seg_desc_page,
    PGT_type_mask,
    PGT_validated,
    PGT_writable_page,
    clear_pinned,
    is_table,
    level_in_force,
    table_level,
)
from kernel.frames.table_type import level_of
from kernel.grant.maptrack import directory_of
from kernel.paging.entry_update import update_l1e, update_upper_entry
from kernel.paging.guest_walk import find_l1e
from kernel.paging.mmu_update import Batch, write_plain_frame
from kernel.paging.table_ref import release_table
from kernel.state.domain import Domain
from kernel.state.frame_table import Frame, frame_at, frame_valid
from kernel.state.grant_table import GrantHandle, MaptrackPage
from kernel.state.vcpu import Vcpu
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush, tlb_clock_now

VERSIONS = {
    "kernel.frames.frame.frame_of": "tests.model.uncured.frame_of_by_a_look",
    "kernel.frames.page_type.begin_type": "tests.model.uncured.begin_type_before_flush",
    "kernel.frames.page_type.advance_stamp": "tests.model.uncured.stamp_of_the_last_only",
    "kernel.grant.maptrack.add_maptrack_frame": "tests.model.uncured.allocate_both",
    "kernel.paging.mmu_update.update_entry": "tests.model.uncured.update_entry_unheld",
    "kernel.paging.base_pointer.unpin_table": "tests.model.uncured.unpin_unheld",
    "kernel.grant.l1_mapping.locate_l1e": "tests.model.uncured.locate_l1e_unheld",
    "kernel.domain.relinquish.relinquish_frame": "tests.model.uncured.relinquish_anybodys",
    "kernel.paging.mmu_update.report_progress": "tests.model.uncured.report_checked_sum",
    "kernel.memory.query.highest_page": "tests.model.uncured.highest_page_of_the_dead",
    "kernel.state.continuation.take_continuation": "tests.model.uncured.continue_by_result",
}


def frame_of_by_a_look(mfn: Mfn, d: Ptr[Domain]) -> Ptr[Frame] | None:
    """Look whose a frame is before holding it."""
    if not frame_valid(mfn) or frame_at(mfn).owner != d.domain_id:
        return None
    frame = frame_at(mfn)
    return frame if take_reference(frame, REFERENCE_MASK) else None


@noinline
def begin_type_before_flush(frame: Ptr[Frame], wanted: u64) -> u32:
    """Let others use a frame as writable before translations of its old use are flushed."""
    info = atomic_load(ref(frame.info))
    while True:
        is_unused = info & TYPE_COUNT_MASK == 0
        new = info + TYPE_ONE
        if is_unused and info & PGT_type_mask != wanted:
            new = new & ~(PGT_type_mask | PGT_validated) | wanted
            if wanted == PGT_writable_page:
                new |= PGT_validated
        elif info & PGT_type_mask != wanted or info & TYPE_COUNT_MASK == TYPE_COUNT_MASK:
            return TYPE_BUSY
        elif not is_unused and info & PGT_validated == 0:
            if info & PGT_partial == 0:
                return TYPE_BUSY
            new = info & ~PGT_partial
        found, done = atomic_cas(ref(frame.info), info, new)
        if done:
            break
        info = found
    if info & PGT_partial:
        return TYPE_PARTIAL
    old = info & PGT_type_mask
    if is_unused and old != wanted and not harmless(old, wanted):
        flush_tlb_mask(cpus_needing_flush(online_cpus(), frame.stamp))
    return TYPE_READY if new & PGT_validated else TYPE_FRESH


def harmless(old: u64, wanted: u64) -> bool:
    return wanted == PGT_writable_page and old in (PGT_none, PGT_seg_desc_page)


def stamp_of_the_last_only(frame: Ptr[Frame]) -> None:
    """Stamp a frame only when its last user lets go, by what its count was a moment before."""
    if atomic_load(ref(frame.info)) & TYPE_COUNT_MASK == TYPE_ONE:
        frame.stamp = tlb_clock_now()


def allocate_both(d: Ptr[Domain]) -> None:
    """Ask for a page of handles, whether or not there is a directory to list it."""
    directory = directory_of(d, 0)
    address = alloc_core_page()
    if directory is None or address is None:
        return
    page = Ptr[MaptrackPage](u64(address))
    page.entries[0].use.next_free = None
    directory.pages[0] = page
    d.grant.nr_maptrack_frames = 1
    d.grant.maptrack_free = GrantHandle(0)


def update_entry_unheld(
    v: Ptr[Vcpu], address: u64, value: Tainted[u64], how: u32, batch: Ptr[Batch]
) -> i64:
    """Change an entry in a frame by a look at its owner, and one at its type."""
    d = batch.tables
    mfn = Mfn(address >> 12)
    require(frame_valid(mfn) and frame_at(mfn).owner == d.domain_id, -abi.EINVAL)
    info = frame_at(mfn).info
    if not is_table(info):
        return write_plain_frame(d, address, value)
    entry = ref(page_at(mfn)[(address & 4095) >> 3])
    if table_level(info) == 1:
        return update_l1e(entry, value, d, ref(batch.owner), how)
    require(batch.owner.domain_id == d.domain_id, -abi.EINVAL)
    return update_upper_entry(v, entry, value, d, table_level(info), how)


def unpin_unheld(v: Ptr[Vcpu], d: Ptr[Domain], mfn: Mfn) -> i64:
    """Take a pin away after a look at the frame's owner."""
    with d.page_lock:
        require(frame_valid(mfn) and frame_at(mfn).owner == d.domain_id, -abi.EINVAL)
        require(clear_pinned(frame_at(mfn)), -abi.EINVAL)
        release_table(v, d, mfn, level_of(mfn))
    return 0


def locate_l1e_unheld(
    v: Ptr[Vcpu], address: Tainted[u64], flags: Tainted[u32]
) -> Ptr[Tainted[u64]] | None:
    """Find an entry in a frame by a look at its owner, and one at its type."""
    if flags & abi.GNTMAP_contains_pte == 0:
        return find_l1e(v, address)
    mfn = Mfn(trusted(address) >> 12)
    if address & 7 != 0 or not frame_valid(mfn) or frame_at(mfn).owner != v.domain.domain_id:
        return None
    if level_in_force(frame_at(mfn)) != 1:
        return None
    return ref(page_at(mfn)[(address & 4095) >> 3])


def relinquish_anybodys(d: Ptr[Domain], mfn: Mfn) -> i64:
    """Take a frame off a dying domain's list whoever owns it by the time it is held."""
    frame = frame_at(mfn)
    if not take_reference(frame, REFERENCE_MASK):
        return 0
    with d.page_lock:
        result = drop_table_uses(d, mfn, frame)
    if result == 0:
        with heap_lock:
            set_aside(d, mfn)
        drop_allocation(frame)
    put_reference(frame)
    return result


def report_checked_sum(done_out: Tainted[u64], nr_before: Tainted[u32], nr_done: u32) -> None:
    """Add to a word of the guest's."""
    done = trusted(nr_before) + nr_done
    if done_out != 0:
        copy_to_guest(Guest[u32](done_out), ref(done))


def highest_page_of_the_dead(d: Ptr[Domain]) -> i64:
    """Read a page that was shared with a domain, whoever has it by now."""
    mfn = d.shared_info_mfn
    require(mfn is not None, 0)
    shared = Ptr[Tainted[abi.shared_info]](u64(page_at(mfn)))
    return i64(max(shared.arch.max_pfn & (1 << 52) - 1, 1)) - 1


def continue_by_result(vcpu: Ptr[Vcpu], result: i64) -> bool:
    """Take a number that a guest may have chosen for the core's wish to go on."""
    vcpu.is_continued = False
    return result == -abi.ERESTART
