"""The maptrack table: the mappings that a domain holds of others' grants.

The index is the guest's handle.
"""

from kpy import Ptr, Tainted, inline, ref, require, u32, u64

from kernel.frames.core_page import alloc_core_page
from kernel.state.domain import Domain
from kernel.state.grant_table import (
    MAPTRACK_PAGES_PER_DIRECTORY,
    MAPTRACK_PER_PAGE,
    GrantHandle,
    Maptrack,
    MaptrackDirectory,
    MaptrackPage,
)


@inline
def maptrack_at(d: Ptr[Domain], handle: Tainted[u32]) -> Ptr[Maptrack] | None:
    """Return the entry of a handle, None for one that was never given out.

    Locks: the grant lock, held.
    """
    if handle >= d.grant.nr_maptrack_frames * MAPTRACK_PER_PAGE:
        return None
    frame = handle // MAPTRACK_PER_PAGE
    directory = d.grant.maptrack[frame // MAPTRACK_PAGES_PER_DIRECTORY]
    if directory is None:
        return None
    page = directory.pages[frame % MAPTRACK_PAGES_PER_DIRECTORY]
    if page is None:
        return None
    return ref(page.entries[handle % MAPTRACK_PER_PAGE])


def take_handle(d: Ptr[Domain]) -> GrantHandle | None:
    """Return an unused handle whose entry the caller fills; None when there is none.

    Locks: takes the grant lock.
    """
    with d.grant.lock:
        if d.grant.maptrack_free is None:
            add_maptrack_frame(d)
        handle = d.grant.maptrack_free
        require(handle is not None, None)
        entry = maptrack_at(d, u32(handle))
        if entry is not None:
            d.grant.maptrack_free = entry.use.next_free
        return handle


@inline
def give_handle_back(d: Ptr[Domain], handle: GrantHandle) -> None:
    """Make a handle unused. Locks: takes the grant lock."""
    with d.grant.lock:
        entry = maptrack_at(d, u32(handle))
        if entry is not None:
            entry.flags = 0
            entry.use.next_free = d.grant.maptrack_free
            d.grant.maptrack_free = handle


def add_maptrack_frame(d: Ptr[Domain]) -> None:
    """Add a page of unused handles if limit and memory allow. Locks: the grant lock, held."""
    frame = d.grant.nr_maptrack_frames
    if frame == d.grant.max_maptrack_frames:
        return
    directory = directory_of(d, frame)
    if directory is None:
        return
    address = alloc_core_page()
    if address is None:
        return
    # A fresh core page, that nobody else knows
    page = Ptr[MaptrackPage](u64(address))
    first = frame * MAPTRACK_PER_PAGE
    for i in range(u32(MAPTRACK_PER_PAGE - 1)):
        page.entries[i].use.next_free = GrantHandle(first + i + 1)
    page.entries[MAPTRACK_PER_PAGE - 1].use.next_free = None
    directory.pages[frame % MAPTRACK_PAGES_PER_DIRECTORY] = page
    d.grant.nr_maptrack_frames += 1
    d.grant.maptrack_free = GrantHandle(first)


def directory_of(d: Ptr[Domain], frame: u32) -> Ptr[MaptrackDirectory] | None:
    """Return the directory that lists a maptrack frame, a new one if need be.

    None without memory.
    """
    index = frame // MAPTRACK_PAGES_PER_DIRECTORY
    directory = d.grant.maptrack[index]
    if directory is not None:
        return directory
    address = alloc_core_page()
    if address is None:
        return None
    # A fresh, zeroed core page: it lists nothing
    fresh = Ptr[MaptrackDirectory](u64(address))
    d.grant.maptrack[index] = fresh
    return fresh
