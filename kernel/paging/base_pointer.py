"""The page tables that a vCPU runs on: its base pointers.

A vCPU has two L4s, the guest kernel's and the guest's user mode's, each with a reference and a type
reference.
"""

import abi
from kpy import (
    Ptr,
    i64,
    ok,
    require,
    u32,
)

from kernel.base.ids import Mfn
from kernel.frames.frame import frame_of
from kernel.frames.page_type import clear_pinned, set_pinned
from kernel.frames.table_type import level_of
from kernel.paging.demote import drop_table
from kernel.paging.l4_slots import hide_m2p, show_m2p
from kernel.paging.segments import destroy_ldt
from kernel.paging.table_ref import acquire_table, forget_old_table, release_table
from kernel.state.domain import Domain
from kernel.state.frame_table import frame_at
from kernel.state.vcpu import Vcpu
from kernel.x86.context import write_ptbase

L4 = 4


def new_guest_cr3(v: Ptr[Vcpu], mfn: Mfn) -> i64:
    """Change the kernel L4 of the running vCPU, which is in kernel mode, and load it.

    The same one again changes nothing.

    Errors: -EINVAL, the frame can't be an L4 of the guest's; -ERESTART, validation takes longer.
    Locks: takes the domain's page_lock.
    """
    if v.guest_table == mfn:
        return 0
    d = v.domain
    with d.page_lock:
        ok(acquire_table(v, d, mfn, L4))
        show_m2p(mfn)
        destroy_ldt(v)
        old = v.guest_table
        v.guest_table = mfn
        write_ptbase(v)
        if old is not None:
            release_table(v, d, old, L4)
    return 0


def new_user_cr3(v: Ptr[Vcpu], mfn: Mfn | None) -> i64:
    """Change the L4 that is in force in user mode.

    The running vCPU is in kernel mode, so nothing is loaded.

    Errors, Locks: as `new_guest_cr3`.
    """
    if v.guest_table_user == mfn:
        return 0
    d = v.domain
    with d.page_lock:
        if mfn is not None:
            ok(acquire_table(v, d, mfn, L4))
            hide_m2p(mfn, d)
        old = v.guest_table_user
        v.guest_table_user = mfn
        if old is not None:
            release_table(v, d, old, L4)
    return 0


def set_guest_tables(v: Ptr[Vcpu], kernel_l4: Mfn, user_l4: Mfn | None) -> i64:
    """Give a vCPU that has never run its L4s. Nothing is loaded.

    Errors: -EINVAL, a frame can't be an L4 of the domain's; -ERESTART, validation takes longer:
    call again.
    Locks: takes the domain's page_lock.
    """
    d = v.domain
    with d.page_lock:
        ok(acquire_l4(v, d, kernel_l4))
        if user_l4 is not None:
            result = acquire_l4(v, d, user_l4)
            if result != 0:
                drop_table(d, kernel_l4, L4)
                return result
            hide_m2p(user_l4, d)
        show_m2p(kernel_l4)
        v.guest_table = kernel_l4
        v.guest_table_user = user_l4
    write_ptbase(v)
    return 0


def acquire_l4(v: Ptr[Vcpu], d: Ptr[Domain], mfn: Mfn) -> i64:
    """Take an L4 into use for a vCPU that doesn't run. Errors, Locks: as `acquire_table`.

    What is partial then, the next call or `relinquish_memory` goes on with: the vCPU could not.
    """
    result = acquire_table(v, d, mfn, L4)
    if result != 0:
        forget_old_table(v)
    return result


def pin_table(v: Ptr[Vcpu], d: Ptr[Domain], mfn: Mfn, level: u32) -> i64:
    """Validate a page table of domain `d` and keep it one until it is unpinned, on behalf of vCPU
    `v`.

    Errors: -EINVAL and others, the frame can't be such a table, or is pinned; -ERESTART, validation
    takes longer.
    Locks: takes the domain's page_lock.
    """
    with d.page_lock:
        ok(acquire_table(v, d, mfn, level))
        if not set_pinned(frame_at(mfn)):
            release_table(v, d, mfn, level)
            return -abi.EINVAL
        if d.is_dying != 0 and clear_pinned(frame_at(mfn)):
            release_table(v, d, mfn, level)  # relinquish_memory may have passed this frame already
    return 0


def unpin_table(v: Ptr[Vcpu], d: Ptr[Domain], mfn: Mfn) -> i64:
    """Undo `pin_table`.

    Errors: -EINVAL, the frame is not the domain's, or not pinned.
    Locks: takes the domain's page_lock.
    """
    with d.page_lock, frame_of(mfn, d) as frame:
        require(frame is not None and clear_pinned(frame), -abi.EINVAL)
        release_table(v, d, mfn, level_of(mfn))
    return 0
