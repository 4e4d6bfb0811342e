"""Taking a page table, and all below it, into use and out of it: for an entry, a pin, or a base
pointer.

Work that can't be finished at once stays behind in a partial table. While a table is being taken
into use the guest makes its hypercall again, which goes on. What is to be *released* would be lost
if the guest didn't, so it is noted in the calling vCPU's `old_guest_table`, and every hypercall on
page tables begins with finishing that. The note has a reference of its own: whoever finishes the
table in its place, it stays its owner's.

Locks: the page_lock of the domain that owns the tables, but for `put_old_guest_table`, which takes
it.
"""

import abi
from kpy import (
    Ptr,
    i64,
    inline,
    noinline,
    ok,
    require,
    u32,
)

from kernel.base.ids import Mfn
from kernel.frames.frame import hold_frame, owner_of, put_frame
from kernel.frames.page_type import TYPE_PARTIAL, TYPE_READY
from kernel.frames.table_type import cursor_of, get_table, is_partial, level_of
from kernel.paging.demote import demote, drop_table
from kernel.paging.promote import promote
from kernel.state.domain import Domain
from kernel.state.frame_table import frame_at
from kernel.state.vcpu import Vcpu


def acquire_table(v: Ptr[Vcpu], d: Ptr[Domain], mfn: Mfn, level: u32) -> i64:
    """Take a reference and a type reference of `level` to a frame of domain `d`, validating it if
    that must be.

    Errors: -EINVAL and others, the frame can't be such a table; -ERESTART, validation takes longer.
    """
    outcome = ok(get_table(mfn, d, level))
    if outcome == TYPE_READY:
        return 0
    cursor: u32 = 0
    if outcome == TYPE_PARTIAL:
        cursor = cursor_of(mfn)
        put_frame(mfn)  # the partial state had a reference, now the caller's
    return finish_acquiring(v, d, mfn, level, cursor)


@noinline
def finish_acquiring(v: Ptr[Vcpu], d: Ptr[Domain], mfn: Mfn, level: u32, cursor: u32) -> i64:
    """Validate a table whose references are taken; give them back if it is bad."""
    result = promote(d, mfn, level, cursor)
    if result == 0 or result == -abi.ERESTART:
        return result
    if level == 1:
        put_frame(mfn)
    elif demote(d, mfn, level) != 0:
        release_later(v, mfn)
    return result


def release_table(v: Ptr[Vcpu], d: Ptr[Domain], mfn: Mfn, level: u32) -> None:
    """Give a reference and a type reference of `level` back, taking the table apart if they were
    the last of the type.
    """
    if drop_table(d, mfn, level) and demote(d, mfn, level) != 0:
        release_later(v, mfn)


def release_later(v: Ptr[Vcpu], mfn: Mfn) -> None:
    """Note a partial table whose release goes on later."""
    assert v.old_guest_table is None, "two page tables wait for their release"
    hold_frame(mfn)
    v.old_guest_table = mfn


def forget_old_table(v: Ptr[Vcpu]) -> None:
    """Drop the note."""
    mfn = v.old_guest_table
    if mfn is not None:
        v.old_guest_table = None
        put_frame(mfn)


@inline
def put_old_guest_table(v: Ptr[Vcpu]) -> i64:
    """Go on with the release of a page table that an earlier hypercall of this vCPU could not
    finish.

    Errors: -ERESTART, it takes longer still.
    """
    return 0 if v.old_guest_table is None else finish_release(v)


@noinline
def finish_release(v: Ptr[Vcpu]) -> i64:
    """Do what `put_old_guest_table` promises. Locks: takes the page_lock of the table's owner."""
    mfn = v.old_guest_table
    require(mfn is not None, 0)
    d = owner_of(frame_at(mfn))
    assert d is not None, "a table without an owner waits for its release"
    with d.page_lock:
        if is_partial(mfn):
            ok(demote(d, mfn, level_of(mfn)))
    forget_old_table(v)
    return 0
