"""Changing one entry of a guest's page table in force.

Each change takes the references of the new entry, stores it, then gives the old one's back. Most
changes are small: permissions or accessed bits on the same frame. Those touch no count, or only the
writable type's.

Locks: the page_lock of the domain whose table it is.
"""

import abi
from kpy import Ptr, Tainted, i64, inline, noinline, ok, require, u32, u64

from kernel.frames.frame import owner_id
from kernel.frames.page_owner import PageOwner
from kernel.frames.page_type import get_writable_type, put_frame_type
from kernel.paging.entry import (
    FREE_TO_CHANGE,
    UPPER_DISALLOWED,
    adjusted_l1e,
    adjusted_upper,
    entry_mfn,
    is_core_slot,
    read_entry,
    store_entry,
)
from kernel.paging.l1_entry import bad_l1_flags, get_l1e_frame, put_l1e
from kernel.paging.table_ref import acquire_table, release_table
from kernel.state.domain import Domain
from kernel.state.frame_table import frame_valid
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import PTE_PRESENT, PTE_WRITE


@inline
def update_l1e(
    entry: Ptr[Tainted[u64]], new: Tainted[u64], d: Ptr[Domain], owner: Ptr[PageOwner], how: u32
) -> i64:
    """Replace an entry of an L1 table of domain `d`, whatever it is. `how` is STORE_*.

    Errors: as `get_l1e_frame`.
    """
    return change_l1e(entry, read_entry(entry), new, d, owner, how)


@inline
def change_l1e(
    entry: Ptr[Tainted[u64]],
    old: Tainted[u64],
    new: Tainted[u64],
    d: Ptr[Domain],
    owner: Ptr[PageOwner],
    how: u32,
) -> i64:
    """Replace an entry of an L1 table of domain `d` that the caller read as `old`.

    Errors: as `get_l1e_frame`; -EBUSY also when it is not `old` any more, with STORE_IF_SAME.
    """
    changed = old ^ new
    if new & PTE_PRESENT:
        require(not bad_l1_flags(new, d), -abi.EINVAL)
        if changed & ~FREE_TO_CHANGE == 0:
            require(store_entry(entry, old, adjusted_l1e(new), how), -abi.EBUSY)
            return 0
        if changed & ~(FREE_TO_CHANGE | PTE_WRITE) == 0 and is_frame_of(owner, new):
            return toggle_writable(entry, old, new, how)
    return replace_l1e(entry, old, new, d, owner, how)


@inline
def is_frame_of(owner: Ptr[PageOwner], l1e: Tainted[u64]) -> bool:
    """Say whether an entry leads to RAM of `owner`."""
    mfn = entry_mfn(l1e)
    return frame_valid(mfn) and owner_id(mfn) == owner.domain_id


@inline
def toggle_writable(
    entry: Ptr[Tainted[u64]], old: Tainted[u64], new: Tainted[u64], how: u32
) -> i64:
    """Make an entry writable or read-only; the frame stays the same, and keeps its reference."""
    mfn = entry_mfn(new)
    if new & PTE_WRITE:
        require(get_writable_type(mfn), -abi.EBUSY)
    if not store_entry(entry, old, adjusted_l1e(new), how):
        if new & PTE_WRITE:
            put_frame_type(mfn)
        return -abi.EBUSY
    if old & PTE_WRITE:
        put_frame_type(mfn)
    return 0


@inline
def replace_l1e(
    entry: Ptr[Tainted[u64]],
    old: Tainted[u64],
    new: Tainted[u64],
    d: Ptr[Domain],
    owner: Ptr[PageOwner],
    how: u32,
) -> i64:
    """Make an L1 entry lead somewhere else, or nowhere."""
    allowed = new
    if new & PTE_PRESENT:
        to_clear = ok(get_l1e_frame(new, d, owner))
        if to_clear == PTE_WRITE:
            allowed &= ~PTE_WRITE
    if not store_entry(entry, old, adjusted_l1e(allowed), how):
        put_l1e(allowed, d)
        return -abi.EBUSY
    put_l1e(old, d)
    return 0


@noinline
def update_upper_entry(
    v: Ptr[Vcpu], entry: Ptr[Tainted[u64]], new: Tainted[u64], d: Ptr[Domain], level: u32, how: u32
) -> i64:
    """Replace an entry of a table of level 2 to 4 of domain `d`, on behalf of vCPU `v`.

    Errors: -EINVAL, the entry is the core's, bits that are not allowed, or the frame can't
    be a table of the level below; -ERESTART, validating the new table takes longer: the same
    request again goes on with it.
    """
    require(not is_core_slot(level, (u64(entry) & 4095) >> 3), -abi.EINVAL)
    old = read_entry(entry)
    if new & PTE_PRESENT:
        require(new & UPPER_DISALLOWED == 0, -abi.EINVAL)
        if (old ^ new) & ~FREE_TO_CHANGE == 0:
            store_entry(entry, old, adjusted_upper(new), how)
            return 0
        ok(acquire_table(v, d, entry_mfn(new), level - 1))
    store_entry(entry, old, adjusted_upper(new), how)
    if old & PTE_PRESENT:
        release_table(v, d, entry_mfn(old), level - 1)
    return 0
