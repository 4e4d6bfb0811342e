"""Mapping granted frames of other domains: the page-table side of GNTTABOP_map_grant_ref and its
kin.

The L1 entry owns the references to the frame that kernel/grant/map.py took before. An entry that
the guest overwrites by other means gives them back like any other, and the grant then can't be
unmapped any more: the guest has only itself to blame, as on Xen.
"""

import abi
from kpy import Ptr, Tainted, i64, ref, require, trusted, u32, u64

from kernel.base.ids import Mfn
from kernel.frames.frame import frame_of, page_at
from kernel.frames.page_type import level_in_force
from kernel.paging.entry import STORE_PLAIN, entry_mfn, read_entry, store_entry
from kernel.paging.guest_walk import find_l1e
from kernel.paging.l1_entry import put_l1e
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import PTE_ACCESSED, PTE_DIRTY, PTE_PRESENT, PTE_USER, PTE_WRITE

AVAILABLE_SHIFT = 9  # of the available bits in an entry
AVAILABLE_MASK = 7


def grant_l1e(mfn: Mfn, flags: Tainted[u32]) -> Tainted[u64]:
    """Return the entry that maps a granted frame as GNTMAP_* flags say."""
    l1e = u64(mfn) << 12 | PTE_PRESENT | PTE_USER | PTE_ACCESSED | PTE_DIRTY
    if flags & abi.GNTMAP_readonly == 0:
        l1e |= PTE_WRITE
    return l1e | (u64(flags) >> abi._GNTMAP_guest_avail0 & AVAILABLE_MASK) << AVAILABLE_SHIFT


def locate_l1e(
    v: Ptr[Vcpu], address: Tainted[u64], flags: Tainted[u32]
) -> Ptr[Tainted[u64]] | None:
    """Return the caller's L1 entry at a machine address (GNTMAP_contains_pte), or for a virtual
    one.

    Locks: its page_lock, which keeps the table in force.
    """
    if flags & abi.GNTMAP_contains_pte == 0:
        return find_l1e(v, address)
    mfn = Mfn(trusted(address) >> 12)  # frame_of takes any number
    with frame_of(mfn, v.domain) as frame:
        if address & 7 != 0 or frame is None or level_in_force(frame) != 1:
            return None
    return ref(page_at(mfn)[(address & 4095) >> 3])


def create_grant_mapping(v: Ptr[Vcpu], address: Tainted[u64], mfn: Mfn, flags: Tainted[u32]) -> i64:
    """Map a granted frame; the caller has taken a reference, and a writable type reference unless
    GNTMAP_readonly, for the entry.

    Returns: GNTST_okay, or GNTST_general_error when the guest has no L1 table there; the references
    are then still the caller's.
    Locks: takes the domain's page_lock.
    """
    with v.domain.page_lock:
        entry = locate_l1e(v, address, flags)
        require(entry is not None, abi.GNTST_general_error)
        old = read_entry(entry)
        store_entry(entry, old, grant_l1e(mfn, flags), STORE_PLAIN)
        put_l1e(old, v.domain)
    return abi.GNTST_okay


def replace_grant_mapping(
    v: Ptr[Vcpu],
    address: Tainted[u64],
    mfn: Mfn,
    new_address: Tainted[u64],
    flags: u32,
) -> i64:
    """Take a granted frame's mapping away; what `new_address` (0: nothing) maps moves there
    instead.

    The caller flushes.

    Returns: GNTST_okay, and the references are the caller's; GNTST_general_error when that isn't
    how the frame is mapped, or both addresses are the same, so that the mapping would stay.
    Locks: takes the domain's page_lock.
    """
    by_address = flags & abi.GNTMAP_contains_pte == 0
    require(new_address == 0 or by_address, abi.GNTST_general_error)
    with v.domain.page_lock:
        entry = locate_l1e(v, address, flags)
        require(entry is not None, abi.GNTST_general_error)
        old = read_entry(entry)
        changed = old ^ grant_l1e(mfn, flags)
        is_this = entry_mfn(old) == mfn and changed & (PTE_PRESENT | PTE_WRITE) == 0
        require(is_this, abi.GNTST_general_error)
        moved: Tainted[u64] = 0
        if new_address != 0:
            source = find_l1e(v, new_address)
            require(source is not None and source != entry, abi.GNTST_general_error)
            moved = read_entry(source)
            store_entry(source, moved, 0, STORE_PLAIN)
        store_entry(entry, old, moved, STORE_PLAIN)
    return abi.GNTST_okay
