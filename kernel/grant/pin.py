"""Using a grant: from the entry that the guest wrote to a referenced frame, and back.

While a grant is used its entry says so to the guest (GTF_reading, GTF_writing), and the core goes
by what it read when the use began (`ActiveGrant`), whatever the guest writes meanwhile. A use
counts in one of the pin counters, and holds one reference to the frame, with the writable type if
it may write.
"""

import abi
from kpy import (
    Ptr,
    Result,
    Tainted,
    atomic_and,
    atomic_cas,
    atomic_load,
    cast,
    i64,
    inline,
    ref,
    require,
    truncate,
    trusted,
    u16,
    u32,
    u64,
    volatile_load,
)

from kernel.base.ids import DomId, Mfn
from kernel.frames.frame import get_frame, put_frame
from kernel.frames.page_type import PGT_writable_page, get_frame_type, put_frame_type
from kernel.state.domain import Domain
from kernel.state.grant_table import (
    ACTIVE_PER_PAGE,
    GNTPIN_TOP_BIT_SHIFT,
    GRANTS_PER_FRAME,
    ActiveGrant,
    GNTPIN_writers,
)

MAX_RACES = 5  # with the guest over one entry, before it is called unstable
MAPPABLE = (
    abi.GTF_type_mask | abi.GTF_sub_page
)  # what must be exactly GTF_permit_access for a mapping


def pin_grant(
    granter: Ptr[Domain],
    number: Tainted[u32],
    user: DomId,
    readonly: bool,
    unit: u32,
    type_mask: u16,
) -> Result[Mfn]:
    """Begin to use a grant.

    Args: unit: what to add to the pin counters, one GNTPIN_*_inc or two; type_mask: the flags that
    must be GTF_permit_access and nothing else. Returns: the frame, referenced once.
    Errors: GNTST_bad_gntref, no such entry; GNTST_general_error, not granted to `user` or not for
    writing, used too often already, or the frame can't be written; GNTST_bad_page, the frame isn't
    the granter's. Locks: takes the granter's grant lock.
    """
    with granter.grant.lock:
        entry = entry_at(granter, number)
        active = active_at(granter, number)
        require(entry is not None and active is not None, abi.GNTST_bad_gntref)
        require(active.pin == 0 or has_room(active, user, unit), abi.GNTST_general_error)
        is_news = active.pin == 0 or (not readonly and active.pin & GNTPIN_writers == 0)
        require(not is_news or claim(entry, user, readonly, type_mask), abi.GNTST_general_error)
        mfn = active.mfn
        if active.pin == 0:
            frame = volatile_load(ref(entry.frame))
            mfn = Mfn(u64(trusted(frame)))  # `reference` takes any number
        status = reference(granter, mfn, readonly)
        if status != abi.GNTST_okay:
            unclaim(entry, active, readonly)
            return status
        active.mfn = mfn
        active.domain_id = user
        active.pin += unit
        return mfn


@inline
def has_room(active: Ptr[ActiveGrant], user: DomId, unit: u32) -> bool:
    """Tell whether a grant in use may be used once more: by the same domain, as often as counts."""
    return active.domain_id == user and active.pin & unit << GNTPIN_TOP_BIT_SHIFT == 0


@inline
def unpin_grant(
    granter: Ptr[Domain], number: Tainted[u32], mfn: Mfn, readonly: bool, unit: u32
) -> None:
    """End a use of a grant. The caller gives the frame's reference back.

    Does nothing when the granter is another domain than the one that granted `mfn`: a mapping whose
    page-table entry the guest overwrote keeps neither frame nor granter alive, and ids come again.
    Locks: takes the granter's grant lock.
    """
    with granter.grant.lock:
        entry = entry_at(granter, number)
        active = active_at(granter, number)
        if active is None or active.mfn != mfn or not has_pins(active.pin, unit):
            return
        active.pin -= unit
        if entry is not None:
            unclaim(entry, active, readonly)


@inline
def has_pins(pin: u32, unit: u32) -> bool:
    """Tell whether each counter of `pin` holds what `unit` wants to take from it."""
    for shift in range(u32(0), u32(32), u32(8)):
        if pin >> shift & 0xFF < unit >> shift & 0xFF:
            return False
    return True


@inline
def entry_at(d: Ptr[Domain], number: Tainted[u32]) -> Ptr[Tainted[abi.grant_entry_v1]] | None:
    """Return an entry of the table that the guest writes, None past its end.

    Locks: the grant lock, held.
    """
    if number >= d.grant.nr_frames * GRANTS_PER_FRAME:
        return None
    page = d.grant.shared[number // GRANTS_PER_FRAME]
    if page is None:
        return None
    return ref(page.entries[number % GRANTS_PER_FRAME])


@inline
def active_at(d: Ptr[Domain], number: Tainted[u32]) -> Ptr[ActiveGrant] | None:
    """Return what the core knows of an entry; it outlives the shared frame of a dying domain.

    Locks: the grant lock, held.
    """
    index = number // ACTIVE_PER_PAGE
    if index >= len(d.grant.active):
        return None
    page = d.grant.active[index]
    if page is None:
        return None
    return ref(page.entries[number % ACTIVE_PER_PAGE])


def claim(
    entry: Ptr[Tainted[abi.grant_entry_v1]], user: DomId, readonly: bool, type_mask: u16
) -> bool:
    """Mark an entry as being read, and written unless `readonly`, if it grants that to `user`.

    Flags and domain are one 32-bit word, exchanged at once: the guest may withdraw or change the
    grant at any moment.
    """
    word_at = cast(u32, entry)
    word = atomic_load(word_at)
    for _ in range(MAX_RACES):
        flags = truncate(u16, word)
        if flags & type_mask != abi.GTF_permit_access or DomId(truncate(u16, word >> 16)) != user:
            return False
        if not readonly and flags & abi.GTF_readonly:
            return False
        used: u32 = abi.GTF_reading if readonly else abi.GTF_reading | abi.GTF_writing
        word, done = atomic_cas(word_at, word, word | used)
        if done:
            return True
    return False


@inline
def unclaim(
    entry: Ptr[Tainted[abi.grant_entry_v1]], active: Ptr[ActiveGrant], readonly: bool
) -> None:
    """Tell the guest that nobody writes, or uses, the grant any more, where that is so now."""
    if not readonly and active.pin & GNTPIN_writers == 0:
        atomic_and(ref(entry.flags), ~abi.GTF_writing)
    if active.pin == 0:
        atomic_and(ref(entry.flags), ~abi.GTF_reading)


def reference(owner: Ptr[Domain], mfn: Mfn, readonly: bool) -> i64:
    """Take a reference to a frame, with the writable type unless `readonly`. Returns: GNTST_*."""
    require(get_frame(mfn, owner), abi.GNTST_bad_page)
    if not readonly and not get_frame_type(mfn, PGT_writable_page):
        put_frame(mfn)
        return abi.GNTST_general_error
    return abi.GNTST_okay


@inline
def unreference(mfn: Mfn, readonly: bool) -> None:
    """Undo `reference`."""
    if not readonly:
        put_frame_type(mfn)
    put_frame(mfn)
