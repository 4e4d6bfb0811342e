"""Grant tables: the structs, apart from the operations so that `kernel.state.domain` can embed the
table.

A domain's *shared* frames hold what it offers, written by the guest. For each entry in use the core
keeps an *active* entry: what was offered when the entry was first pinned, and how often it is used.
What a domain has mapped of others is in its *maptrack* table, whose index is the handle that the
guest holds.
"""

import abi
from kpy import Array, Ptr, Tainted, newtype, sizeof, struct, u16, u32, union

from kernel.base.ids import DomId, Mfn
from kernel.base.spinlock import SpinLock

MAX_GRANT_FRAMES = 64  # Xen's default limit, and here also the greatest
MAX_MAPTRACK_FRAMES = 1024
INITIAL_GRANT_FRAMES = 1
GRANTS_PER_FRAME = 512
ACTIVE_PER_PAGE = 256
ACTIVE_PAGES = MAX_GRANT_FRAMES * GRANTS_PER_FRAME // ACTIVE_PER_PAGE
MAPTRACK_PER_PAGE = 256
MAPTRACK_PAGES_PER_DIRECTORY = 512
MAPTRACK_DIRECTORIES = MAX_MAPTRACK_FRAMES // MAPTRACK_PAGES_PER_DIRECTORY

# A guest's name for a mapping: the first is 0, and no table is so large that one is all ones.
GrantHandle = newtype("GrantHandle", u32, none=(1 << 32) - 1)

# Users of a grant, four counters of 8 bits in ActiveGrant.pin: by host or device mappings, writable
# or read-only.
GNTPIN_hstw_inc = 1 << 0
GNTPIN_hstw_mask = 0xFF << 0
GNTPIN_hstr_inc = 1 << 8
GNTPIN_devw_inc = 1 << 16
GNTPIN_devw_mask = 0xFF << 16
GNTPIN_devr_inc = 1 << 24
GNTPIN_writers = GNTPIN_hstw_mask | GNTPIN_devw_mask
GNTPIN_TOP_BIT_SHIFT = 7  # from a counter's unit to its highest bit


@struct(size=4096)
class SharedGrantPage:
    """One frame of the table that the guest writes: nothing in it can be trusted, or read twice."""

    entries: Array[Tainted[abi.grant_entry_v1], GRANTS_PER_FRAME]


@struct
class ActiveGrant:
    """A grant in use; guarded by the grant lock of the domain that granted it.

    All zero: not in use.
    """

    mfn: Mfn  # what was offered at the first pin; referenced once per user, by that user
    pin: u32  # GNTPIN_*
    domain_id: DomId  # who uses it
    reserved: u16


assert sizeof(ActiveGrant) == 16


@struct(size=4096)
class ActivePage:
    entries: Array[ActiveGrant, ACTIVE_PER_PAGE]


@union
class MaptrackUse:
    """What an entry is for."""

    grant: u32  # in use: the grant that is mapped
    next_free: GrantHandle | None  # free: the next one of the free list


@struct
class Maptrack:
    """One mapping that a domain holds; guarded by the grant lock of the domain that maps."""

    mfn: Mfn  # the frame that the grant offers
    use: MaptrackUse
    flags: u16  # GNTMAP_* as mapped; 0: free, or being unmapped
    domain_id: DomId  # who granted it


assert sizeof(Maptrack) == 16


@struct(size=4096)
class MaptrackPage:
    entries: Array[Maptrack, MAPTRACK_PER_PAGE]


@struct(size=4096)
class MaptrackDirectory:
    pages: Array[Ptr[MaptrackPage] | None, MAPTRACK_PAGES_PER_DIRECTORY]


@struct
class GrantTable:
    lock: SpinLock
    nr_frames: u32
    max_frames: u32
    nr_maptrack_frames: u32
    max_maptrack_frames: u32
    maptrack_free: GrantHandle | None  # the first
    release_cursor: u32  # progress of the release of all mappings when the domain dies
    shared: Array[Ptr[SharedGrantPage] | None, MAX_GRANT_FRAMES]
    active: Array[Ptr[ActivePage] | None, ACTIVE_PAGES]
    maptrack: Array[Ptr[MaptrackDirectory] | None, MAPTRACK_DIRECTORIES]
