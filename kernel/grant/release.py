"""Letting go of everything that a dying domain has mapped of others."""

import abi
from kpy import (
    Ptr,
    i64,
    require,
    u32,
)

from kernel.grant.map import pin_unit
from kernel.grant.maptrack import maptrack_at
from kernel.grant.pin import active_at, unpin_grant, unreference
from kernel.state.domain import Domain, get_domain_by_id
from kernel.state.grant_table import MAPTRACK_PER_PAGE, Maptrack
from kernel.x86.preempt import preempt_pending


def grant_release_mappings(d: Ptr[Domain]) -> i64:
    """Unpin every grant that a domain has mapped.

    The frames' references belong to its page-table entries and go with its page tables; those of
    device mappings go here.
    Returns: 0, or -ERESTART to be called again. Context: its vCPUs have stopped for good, so its
    table stands still.
    """
    while d.grant.release_cursor < d.grant.nr_maptrack_frames * MAPTRACK_PER_PAGE:
        entry = maptrack_at(d, d.grant.release_cursor)
        if entry is not None and entry.flags != 0:
            release_mapping(d, entry)
        d.grant.release_cursor += 1
        require(d.grant.release_cursor % 64 != 0 or not preempt_pending(), -abi.ERESTART)
    return 0


def release_mapping(d: Ptr[Domain], entry: Ptr[Maptrack]) -> None:
    """Unpin one grant that `d` has mapped; its granter may be gone when the page-table entry went
    before, and another domain may have its id and the frame.
    """
    flags = u32(entry.flags)
    readonly = flags & abi.GNTMAP_readonly != 0
    with get_domain_by_id(entry.domain_id) as granter:
        if granter is not None and is_user(d, granter, entry.use.grant):
            unpin_grant(granter, entry.use.grant, entry.mfn, readonly, pin_unit(flags))
    if flags & abi.GNTMAP_device_map:
        unreference(entry.mfn, readonly)
    entry.flags = 0


def is_user(d: Ptr[Domain], granter: Ptr[Domain], number: u32) -> bool:
    """Say whether it is `d` that uses a grant. Locks: takes the granter's grant lock."""
    with granter.grant.lock:
        active = active_at(granter, number)
        return active is not None and active.domain_id == d.domain_id
