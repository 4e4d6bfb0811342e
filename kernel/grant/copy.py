"""GNTTABOP_copy: the core copies between two frames, each the caller's own or granted to it.

A back end that copies a packet names the same grant or frame many times in a row, so each side
stays claimed until a request names another one.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    i16,
    i64,
    inline,
    ok,
    ref,
    require,
    struct,
    truncate,
    trusted,
    u16,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay, guest_copy
from kernel.base.ids import PAGE_SIZE, Mfn
from kernel.grant.operations import grant_table_op
from kernel.grant.pin import pin_grant, reference, unpin_grant, unreference
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, get_domain_or_self, put_domain
from kernel.state.grant_table import GNTPIN_hstr_inc, GNTPIN_hstw_inc
from kernel.state.vcpu import Vcpu
from kernel.x86.memlayout import mfn_to_vaddr
from kernel.x86.preempt import preempt_pending


@struct
class Side:
    """The source or the destination of a copy."""

    domain: Ptr[Domain] | None  # whose frame it is, referenced
    named_by: Tainted[u16]  # the domain id in the request
    is_source: bool
    is_claimed: bool  # mfn is referenced, and pinned if it is a grant
    is_grant: bool
    name: Tainted[u64]  # grant or frame number in the request
    mfn: Mfn

    @inline
    def __enter__(self) -> None:
        """Begin a list of copies."""

    @inline
    def __exit__(self) -> None:
        """Let go of what the last of them used."""
        leave_domain(self)


@grant_table_op(abi.GNTTABOP_copy)
def copy_grants(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_copy], count: u32) -> i64:
    """Serve GNTTABOP_copy. Errors: -EFAULT, at the first structure that can't be accessed."""
    require(guest_array_okay(arg, u64(count)), -abi.EFAULT)
    source = Side(is_source=True)
    dest = Side()
    with source, dest:
        for i in range(count):
            here = arg.index(u64(i))
            if i != 0 and preempt_pending():
                left = u64(count - i)
                return hypercall_continue(vcpu, abi.GNTTABOP_copy, here.address(), left, 0)
            op = uninitialized(Tainted[abi.gnttab_copy])
            require(copy_from_guest(ref(op), here), -abi.EFAULT)
            op.status = truncate(i16, copy_one(vcpu.domain, ref(op), ref(source), ref(dest)))
            require(copy_to_guest(here, ref(op)), -abi.EFAULT)
    return 0


@inline
def copy_one(
    caller: Ptr[Domain], op: Ptr[Tainted[abi.gnttab_copy]], source: Ptr[Side], dest: Ptr[Side]
) -> i64:
    """Do one copy.

    Source: Xen public ABI, grant_table.h, gnttab_copy. Returns: GNTST_permission_denied, a frame of
    another domain named directly; GNTST_bad_domain; GNTST_bad_copy_arg, it would cross the end of a
    frame; those of `pin_grant`.
    """
    from_grant = op.flags & abi.GNTCOPY_source_gref != 0
    to_grant = op.flags & abi.GNTCOPY_dest_gref != 0
    ok(enter_domain(caller, source, op.source.domid, from_grant))
    ok(enter_domain(caller, dest, op.dest.domid, to_grant))
    ok(claim_side(caller, source, ref(op.source), from_grant))
    ok(claim_side(caller, dest, ref(op.dest), to_grant))
    length, from_offset, to_offset = op.len, op.source.offset, op.dest.offset
    require(length <= PAGE_SIZE, abi.GNTST_bad_copy_arg)
    require(from_offset <= PAGE_SIZE - length, abi.GNTST_bad_copy_arg)
    require(to_offset <= PAGE_SIZE - length, abi.GNTST_bad_copy_arg)
    # Both frames are referenced, the destination as writable memory: the direct map shows them
    # until they are let go.
    to = u64(mfn_to_vaddr(dest.mfn)) + u64(to_offset)
    guest_copy(to, u64(mfn_to_vaddr(source.mfn)) + u64(from_offset), u64(length))
    return abi.GNTST_okay


def enter_domain(
    caller: Ptr[Domain], side: Ptr[Side], named_by: Tainted[u16], is_grant: bool
) -> i64:
    """Make a side refer to a domain. Returns: GNTST_*."""
    require(named_by == abi.DOMID_SELF or is_grant, abi.GNTST_permission_denied)
    if side.domain is not None and side.named_by == named_by:
        return abi.GNTST_okay
    leave_domain(side)
    side.domain = get_domain_or_self(caller, named_by)
    side.named_by = named_by
    require(side.domain is not None, abi.GNTST_bad_domain)
    return abi.GNTST_okay


def leave_domain(side: Ptr[Side]) -> None:
    """Let go of all that a side refers to: it holds the domain from one request to the next."""
    release_side(side)
    domain = side.domain
    if domain is not None:
        side.domain = None
        put_domain(domain)


def claim_side(
    caller: Ptr[Domain],
    side: Ptr[Side],
    where: Ptr[Tainted[abi.gnttab_copy_ptr]],
    is_grant: bool,
) -> i64:
    """Reference the frame that a request names, unless the one before named the same.

    Returns: GNTST_*.
    """
    name = u64(where.u.ref) if is_grant else where.u.gmfn
    if side.is_claimed and side.is_grant == is_grant and side.name == name:
        return abi.GNTST_okay
    release_side(side)
    domain = side.domain
    assert domain is not None, "a copy has no domain"
    side.is_grant = is_grant
    side.name = name
    if is_grant:
        user, readonly = caller.domain_id, side.is_source
        side.mfn = ok(
            pin_grant(domain, where.u.ref, user, readonly, pin_unit(side), abi.GTF_type_mask)
        )
    else:
        side.mfn = Mfn(trusted(name))  # `reference` takes any number
        ok(reference(domain, side.mfn, side.is_source))
    side.is_claimed = True
    return abi.GNTST_okay


@inline
def pin_unit(side: Ptr[Side]) -> u32:
    """Return how a side that is a grant counts in the pin counters."""
    return GNTPIN_hstr_inc if side.is_source else GNTPIN_hstw_inc


def release_side(side: Ptr[Side]) -> None:
    """Undo `claim_side`."""
    domain = side.domain
    if not side.is_claimed or domain is None:
        return
    side.is_claimed = False
    if side.is_grant:
        number = truncate(u32, side.name)
        unpin_grant(domain, number, side.mfn, side.is_source, pin_unit(side))
    unreference(side.mfn, side.is_source)
