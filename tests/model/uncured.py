"""Functions of the core as they were before a hole was mended (kernel Python): the races of
tests/model/test_races.py must find each.
"""

from kpy import Ptr, atomic_cas, atomic_load, noinline, ref, u32, u64

from kernel.base.ids import Mfn
from kernel.frames.core_page import alloc_core_page
from kernel.frames.frame import REFERENCE_MASK, take_reference
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
)
from kernel.grant.maptrack import directory_of
from kernel.state.domain import Domain
from kernel.state.frame_table import Frame, frame_at, frame_valid
from kernel.state.grant_table import GrantHandle, MaptrackPage
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush, tlb_clock_now

VERSIONS = {
    "kernel.frames.frame.frame_of": "tests.model.uncured.frame_of_by_a_look",
    "kernel.frames.page_type.begin_type": "tests.model.uncured.begin_type_before_flush",
    "kernel.frames.page_type.advance_stamp": "tests.model.uncured.stamp_of_the_last_only",
    "kernel.grant.maptrack.add_maptrack_frame": "tests.model.uncured.allocate_both",
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
