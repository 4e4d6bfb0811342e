"""Unmapping grants, in batches.

All page-table entries of a batch go first, then one TLB flush, then the frames are let go.

So no processor can reach a frame that its owner has got back.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Result,
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

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.ids import Mfn, mfn_to_maddr
from kernel.grant.l1_mapping import replace_grant_mapping
from kernel.grant.map import USES, pin_unit
from kernel.grant.maptrack import give_handle_back, maptrack_at
from kernel.grant.operations import grant_table_op
from kernel.grant.pin import unpin_grant, unreference
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, get_domain_by_id, put_domain
from kernel.state.grant_table import GrantHandle, Maptrack
from kernel.state.vcpu import Vcpu
from kernel.trace.record import trace_1
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.preempt import preempt_pending

BATCH = 32


@struct
class Unmapped:
    """A mapping whose page-table entry is gone, to be completed after the flush."""

    granter: Ptr[Domain]  # with a reference
    mfn: Mfn
    grant: u32
    handle: GrantHandle | None  # free from now on; None: a part of the mapping stays
    done: u32  # GNTMAP_host_map, GNTMAP_device_map: what was undone; with GNTMAP_readonly as mapped


@struct
class Batch:
    """Mappings to be completed at the end of a `with`."""

    domain: Ptr[Domain]  # that had them
    nr: u32
    unmapped: Array[Unmapped, BATCH]

    @inline
    def __enter__(self) -> None:
        """Begin with none."""
        self.nr = 0

    @inline
    def __exit__(self) -> None:
        """Flush the TLBs, then give up frames, pins and handles."""
        complete(self)


@grant_table_op(abi.GNTTABOP_unmap_grant_ref)
def unmap_grant_refs(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_unmap_grant_ref], count: u32) -> i64:
    """Serve GNTTABOP_unmap_grant_ref.

    Errors: -EFAULT, at the first structure that can't be accessed.
    """
    require(guest_array_okay(arg, u64(count)), -abi.EFAULT)
    batch = uninitialized(Batch)
    batch.domain = vcpu.domain
    for served in range(u32(0), count, u32(BATCH)):
        rest = arg.index(u64(served))
        if served != 0 and preempt_pending():
            left = u64(count - served)
            return hypercall_continue(vcpu, abi.GNTTABOP_unmap_grant_ref, rest.address(), left, 0)
        ok(unmap_batch(vcpu, rest, min(count - served, BATCH), ref(batch)))
    return 0


@inline
def unmap_batch(
    vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_unmap_grant_ref], count: u32, batch: Ptr[Batch]
) -> i64:
    """Unmap as many grants as a batch holds. Errors: -EFAULT, as `unmap_grant_refs`."""
    with batch:
        for i in range(count):
            op = uninitialized(Tainted[abi.gnttab_unmap_grant_ref])
            here = arg.index(u64(i))
            require(copy_from_guest(ref(op), here), -abi.EFAULT)
            op.status = truncate(i16, detach(vcpu, ref(op), 0, batch))
            require(copy_to_guest(here, ref(op)), -abi.EFAULT)
    return 0


@grant_table_op(abi.GNTTABOP_unmap_and_replace)
def unmap_and_replace(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_unmap_and_replace], count: u32) -> i64:
    """Serve GNTTABOP_unmap_and_replace: the mapping at `new_addr` moves to where the grant was.

    Errors: -EFAULT.
    """
    require(guest_array_okay(arg, u64(count)), -abi.EFAULT)
    batch = uninitialized(Batch)
    batch.domain = vcpu.domain
    for served in range(count):
        to = arg.index(u64(served))
        if served != 0 and preempt_pending():
            left = u64(count - served)
            return hypercall_continue(vcpu, abi.GNTTABOP_unmap_and_replace, to.address(), left, 0)
        op = uninitialized(Tainted[abi.gnttab_unmap_and_replace])
        require(copy_from_guest(ref(op), to), -abi.EFAULT)
        what = Tainted[abi.gnttab_unmap_grant_ref](host_addr=op.host_addr, handle=op.handle)
        with batch:
            op.status = truncate(i16, detach(vcpu, ref(what), op.new_addr, ref(batch)))
        require(copy_to_guest(to, ref(op)), -abi.EFAULT)
    return 0


@inline
def detach(
    vcpu: Ptr[Vcpu],
    op: Ptr[Tainted[abi.gnttab_unmap_grant_ref]],
    new_addr: Tainted[u64],
    batch: Ptr[Batch],
) -> i64:
    """Take a mapping out of the page tables, put that at `new_addr` (0: none) in its place, and
    leave the rest to `batch`, for after the flush.

    Returns: GNTST_bad_handle, the caller has no such mapping; GNTST_bad_domain, the granter is
    gone; GNTST_general_error, it isn't mapped there; GNTST_bad_dev_addr, nor at that bus address.
    """
    with vcpu.domain.grant.lock:
        entry = maptrack_at(vcpu.domain, op.handle)
        require(entry is not None and entry.flags != 0, abi.GNTST_bad_handle)
        granter = get_domain_by_id(entry.domain_id)
        require(granter is not None, abi.GNTST_bad_domain)
        undone = undo(vcpu, entry, op, new_addr)
        if undone.error != 0 or undone.value == 0:
            put_domain(granter)  # the batch does not get it
            return undone.error
        to = ref(batch.unmapped[batch.nr])
        batch.nr += 1
        to.granter = granter  # and the reference to it
        to.handle = GrantHandle(trusted(op.handle))  # it has an entry
        note_undone(entry, undone.value, to)
        return abi.GNTST_okay


@inline
def note_undone(entry: Ptr[Maptrack], done: u32, to: Ptr[Unmapped]) -> None:
    """Move parts of a mapping from its entry to the batch; it keeps its handle while any is left.

    Locks: the grant lock, held.
    """
    trace_1(abi.TRC_MEM_PAGE_GRANT_UNMAP, u32(entry.domain_id))
    to.mfn = entry.mfn
    to.grant = entry.use.grant
    to.done = done | u32(entry.flags) & abi.GNTMAP_readonly
    entry.flags &= ~truncate(u16, done)
    if u32(entry.flags) & USES == 0:
        entry.flags = 0
    else:
        to.handle = None


@inline
def undo(
    vcpu: Ptr[Vcpu],
    entry: Ptr[Maptrack],
    op: Ptr[Tainted[abi.gnttab_unmap_grant_ref]],
    new_addr: Tainted[u64],
) -> Result[u32]:
    """Undo the host and the device part of a mapping, as far as an address is given for it.

    Returns: the parts undone. Errors: GNTST_bad_dev_addr, GNTST_general_error, as `detach`.
    """
    flags, mfn, done = u32(entry.flags), entry.mfn, u32(0)
    if op.dev_bus_addr != 0 and flags & abi.GNTMAP_device_map != 0:
        require(op.dev_bus_addr == u64(mfn_to_maddr(mfn)), abi.GNTST_bad_dev_addr)
        done |= abi.GNTMAP_device_map
    if op.host_addr != 0 and flags & abi.GNTMAP_host_map:
        ok(replace_grant_mapping(vcpu, op.host_addr, mfn, new_addr, flags))
        done |= abi.GNTMAP_host_map
    return done


def complete(batch: Ptr[Batch]) -> None:
    """Flush the TLBs, then give up frames, pins and handles of a batch."""
    if is_flush_due(batch):
        flush_tlb_mask(batch.domain.dirty_cpumask)
    for unmapped in batch.unmapped[0 : u64(batch.nr)]:
        let_go(unmapped)
        handle = unmapped.handle
        if handle is not None:
            give_handle_back(batch.domain, handle)
        put_domain(unmapped.granter)  # which came with the mapping


@inline
def let_go(unmapped: Ptr[Unmapped]) -> None:
    """Give up the pin of a mapping, and the frame's reference of each part."""
    readonly = unmapped.done & abi.GNTMAP_readonly != 0
    unit = pin_unit(unmapped.done)
    unpin_grant(unmapped.granter, unmapped.grant, unmapped.mfn, readonly, unit)
    if unmapped.done & abi.GNTMAP_host_map:
        unreference(unmapped.mfn, readonly)
    if unmapped.done & abi.GNTMAP_device_map:
        unreference(unmapped.mfn, readonly)


@inline
def is_flush_due(batch: Ptr[Batch]) -> bool:
    """Tell whether a page-table entry of the batch is gone."""
    for unmapped in batch.unmapped[0 : u64(batch.nr)]:
        if unmapped.done & abi.GNTMAP_host_map:
            return True
    return False
