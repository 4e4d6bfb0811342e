"""Unmapping grants, in batches.

All page-table entries of a batch go first, then one TLB flush, then the frames are let go.

So no processor can reach a frame that its owner has got back.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Tainted,
    i16,
    i64,
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

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.ids import Mfn, mfn_to_maddr
from kernel.grant.l1_mapping import replace_grant_mapping
from kernel.grant.map import USES, pin_unit
from kernel.grant.maptrack import give_handle_back, maptrack_at
from kernel.grant.operations import grant_table_op
from kernel.grant.pin import unpin_grant, unreference
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, get_domain_by_id, put_domain
from kernel.state.vcpu import Vcpu
from kernel.trace.record import trace_1
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.preempt import preempt_pending

BATCH = 32


@struct
class Unmapped:
    """A mapping whose page-table entry is gone, to be completed after the flush."""

    granter: Ptr[Domain] | None  # referenced; None: nothing to complete
    mfn: Mfn
    ref: u32
    handle: u32
    done: u32  # GNTMAP_host_map, GNTMAP_device_map: what was undone; with GNTMAP_readonly as mapped
    handle_is_free: bool


@grant_table_op(abi.GNTTABOP_unmap_grant_ref)
def unmap_grant_refs(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_unmap_grant_ref], count: u32) -> i64:
    """Serve GNTTABOP_unmap_grant_ref.

    Errors: -EFAULT, at the first structure that can't be accessed.
    """
    require(guest_array_okay(arg, u64(count)), -abi.EFAULT)
    batch = uninitialized(Array[Unmapped, BATCH])
    served: u32 = 0
    while served < count:
        if served != 0 and preempt_pending():
            rest = arg.index(u64(served)).address()
            return hypercall_continue(
                vcpu, abi.GNTTABOP_unmap_grant_ref, rest, u64(count - served), 0
            )
        nr = min(count - served, BATCH)
        for i in range(nr):
            op = uninitialized(Tainted[abi.gnttab_unmap_grant_ref])
            to = arg.index(u64(served + i))
            batch[i].granter = None
            if not copy_from_guest(ref(op), to):
                complete(vcpu.domain, ref(batch), i)
                return -abi.EFAULT
            op.status = detach(vcpu, ref(op), 0, ref(batch[i]))
            if not copy_to_guest(to, ref(op)):
                complete(vcpu.domain, ref(batch), i + 1)
                return -abi.EFAULT
        complete(vcpu.domain, ref(batch), nr)
        served += nr
    return 0


@grant_table_op(abi.GNTTABOP_unmap_and_replace)
def unmap_and_replace(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_unmap_and_replace], count: u32) -> i64:
    """Serve GNTTABOP_unmap_and_replace: the mapping at `new_addr` moves to where the grant was.

    Errors: -EFAULT.
    """
    require(guest_array_okay(arg, u64(count)), -abi.EFAULT)
    batch = uninitialized(Array[Unmapped, BATCH])
    for served in range(count):
        if served != 0 and preempt_pending():
            rest = arg.index(u64(served)).address()
            return hypercall_continue(
                vcpu, abi.GNTTABOP_unmap_and_replace, rest, u64(count - served), 0
            )
        op = uninitialized(Tainted[abi.gnttab_unmap_and_replace])
        to = arg.index(u64(served))
        batch[0].granter = None
        require(copy_from_guest(ref(op), to), -abi.EFAULT)
        what = Tainted[abi.gnttab_unmap_grant_ref](host_addr=op.host_addr, handle=op.handle)
        op.status = detach(vcpu, ref(what), op.new_addr, ref(batch[0]))
        complete(vcpu.domain, ref(batch), 1)
        require(copy_to_guest(to, ref(op)), -abi.EFAULT)
    return 0


def detach(
    vcpu: Ptr[Vcpu],
    op: Ptr[Tainted[abi.gnttab_unmap_grant_ref]],
    new_addr: Tainted[u64],
    to: Ptr[Unmapped],
) -> i16:
    """Take a mapping out of the page tables, put that at `new_addr` (0: none) in its place, and say
    in `to` what is left for after the flush.

    Returns: GNTST_bad_handle, the caller has no such mapping; GNTST_bad_domain, the granter is
    gone; GNTST_general_error, it isn't mapped there; GNTST_bad_dev_addr, nor at that bus address.
    """
    d = vcpu.domain
    with d.grant.lock:
        entry = maptrack_at(d, op.handle)
        if entry is None or entry.flags == 0:
            return abi.GNTST_bad_handle
        granter = get_domain_by_id(entry.domain_id)
        if granter is None:
            return abi.GNTST_bad_domain
        flags = u32(entry.flags)
        status, done = undo(vcpu, flags, entry.mfn, op, new_addr)
        if done == 0:
            put_domain(granter)
            return status
        entry.flags &= ~truncate(u16, done)
        to.granter = granter
        trace_1(abi.TRC_MEM_PAGE_GRANT_UNMAP, u32(entry.domain_id))
        to.mfn = entry.mfn
        to.ref = entry.ref_or_next
        to.handle = trusted(op.handle)  # it has an entry
        to.done = done | flags & abi.GNTMAP_readonly
        to.handle_is_free = u32(entry.flags) & USES == 0
        if to.handle_is_free:
            entry.flags = 0
        return status


def undo(
    vcpu: Ptr[Vcpu],
    flags: u32,
    mfn: Mfn,
    op: Ptr[Tainted[abi.gnttab_unmap_grant_ref]],
    new_addr: Tainted[u64],
) -> tuple[i16, u32]:
    """Undo the host and the device part of a mapping, as far as an address is given for it.

    Returns: GNTST_*, parts undone.
    """
    done: u32 = 0
    device = op.dev_bus_addr != 0 and flags & abi.GNTMAP_device_map != 0
    if device and op.dev_bus_addr != u64(mfn_to_maddr(mfn)):
        return abi.GNTST_bad_dev_addr, 0
    if op.host_addr != 0 and flags & abi.GNTMAP_host_map:
        status = truncate(i16, replace_grant_mapping(vcpu, op.host_addr, mfn, new_addr, flags))
        if status != abi.GNTST_okay:
            return status, 0
        done |= abi.GNTMAP_host_map
    if device:
        done |= abi.GNTMAP_device_map
    return abi.GNTST_okay, done


def complete(d: Ptr[Domain], batch: Ptr[Array[Unmapped, BATCH]], nr: u32) -> None:
    """Flush the TLBs, then give up frames, pins and handles of a batch."""
    if is_flush_due(batch, nr):
        flush_tlb_mask(d.dirty_cpumask)
    for i in range(nr):
        unmapped = ref(batch[i])
        granter = unmapped.granter
        if granter is None:
            continue
        readonly = unmapped.done & abi.GNTMAP_readonly != 0
        unpin_grant(granter, unmapped.ref, unmapped.mfn, readonly, pin_unit(unmapped.done))
        if unmapped.done & abi.GNTMAP_host_map:
            unreference(unmapped.mfn, readonly)
        if unmapped.done & abi.GNTMAP_device_map:
            unreference(unmapped.mfn, readonly)
        if unmapped.handle_is_free:
            give_handle_back(d, unmapped.handle)
        put_domain(granter)


def is_flush_due(batch: Ptr[Array[Unmapped, BATCH]], nr: u32) -> bool:
    """Tell whether a page-table entry of the batch is gone."""
    for i in range(nr):
        if batch[i].granter is not None and batch[i].done & abi.GNTMAP_host_map:
            return True
    return False
