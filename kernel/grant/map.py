"""GNTTABOP_map_grant_ref: put a granted frame into the caller's page tables."""

import abi
from kpy import Ptr, Tainted, i16, i64, inline, ok, require, truncate, trusted, u16, u32, u64

from kernel.base.ids import DomId, Mfn, mfn_to_maddr
from kernel.grant.l1_mapping import create_grant_mapping
from kernel.grant.maptrack import give_handle_back, maptrack_at, take_handle
from kernel.grant.operations import grant_table_op
from kernel.grant.pin import MAPPABLE, pin_grant, reference, unpin_grant, unreference
from kernel.state.domain import Domain, get_domain_by_id
from kernel.state.grant_table import (
    GNTPIN_devr_inc,
    GNTPIN_devw_inc,
    GNTPIN_hstr_inc,
    GNTPIN_hstw_inc,
    GrantHandle,
)
from kernel.state.vcpu import Vcpu
from kernel.trace.record import trace_1

USES = abi.GNTMAP_host_map | abi.GNTMAP_device_map


def pin_unit(flags: Tainted[u32]) -> u32:
    """Return how a mapping counts in the pin counters."""
    unit: u32 = 0
    readonly = flags & abi.GNTMAP_readonly != 0
    if flags & abi.GNTMAP_host_map:
        unit += GNTPIN_hstr_inc if readonly else GNTPIN_hstw_inc
    if flags & abi.GNTMAP_device_map:
        unit += GNTPIN_devr_inc if readonly else GNTPIN_devw_inc
    return unit


@grant_table_op(abi.GNTTABOP_map_grant_ref)
def map_grant_ref(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.gnttab_map_grant_ref]]) -> None:
    """Map one grant; `status` is bad_gntref also when the flags ask for no mapping at all.

    Source: Xen public ABI, grant_table.h, gnttab_map_grant_ref.
    """
    if op.flags & USES == 0:
        op.status = abi.GNTST_bad_gntref
        return
    trace_1(abi.TRC_MEM_PAGE_GRANT_MAP, u32(op.dom))
    with get_domain_by_id(DomId(op.dom)) as granter:
        op.status = abi.GNTST_bad_domain
        if granter is not None:
            op.status = truncate(i16, map_from(vcpu, granter, op))


def map_from(
    vcpu: Ptr[Vcpu], granter: Ptr[Domain], op: Ptr[Tainted[abi.gnttab_map_grant_ref]]
) -> i64:
    """Take a handle and map the grant under it. Returns: GNTST_*."""
    handle = take_handle(vcpu.domain)
    require(handle is not None, abi.GNTST_no_space)
    mapped = map_under(vcpu, granter, op, handle)
    if mapped != abi.GNTST_okay:
        give_handle_back(vcpu.domain, handle)
    return mapped


@inline
def map_under(
    vcpu: Ptr[Vcpu],
    granter: Ptr[Domain],
    op: Ptr[Tainted[abi.gnttab_map_grant_ref]],
    handle: GrantHandle,
) -> i64:
    """Pin the grant, map it, and note that under a handle. Returns: GNTST_*."""
    d, readonly = vcpu.domain, op.flags & abi.GNTMAP_readonly != 0
    unit, mask = pin_unit(op.flags), truncate(u16, MAPPABLE)
    mfn = ok(pin_grant(granter, op.ref, d.domain_id, readonly, unit, mask))
    status = enter_mapping(vcpu, granter, mfn, op)
    if status != abi.GNTST_okay:
        unpin_grant(granter, op.ref, mfn, readonly, unit)
        return status
    fill_handle(d, handle, mfn, op)
    op.handle = u32(handle)
    op.dev_bus_addr = u64(mfn_to_maddr(mfn))
    return abi.GNTST_okay


@inline
def enter_mapping(
    vcpu: Ptr[Vcpu], granter: Ptr[Domain], mfn: Mfn, op: Ptr[Tainted[abi.gnttab_map_grant_ref]]
) -> i64:
    """Write the page-table entry, which takes over the frame's reference.

    Returns: GNTST_*; on failure no reference is left.
    """
    if op.flags & abi.GNTMAP_host_map == 0:
        return abi.GNTST_okay
    status = map_host(vcpu, granter, mfn, op)
    if status != abi.GNTST_okay:
        unreference(mfn, op.flags & abi.GNTMAP_readonly != 0)
    return status


@inline
def map_host(
    vcpu: Ptr[Vcpu], granter: Ptr[Domain], mfn: Mfn, op: Ptr[Tainted[abi.gnttab_map_grant_ref]]
) -> i64:
    """Write the page-table entry; a device mapping on top holds a reference of its own.

    Returns: GNTST_*; on failure the caller still has its reference.
    """
    readonly = op.flags & abi.GNTMAP_readonly != 0
    if op.flags & abi.GNTMAP_device_map:
        ok(reference(granter, mfn, readonly))
    mapped = create_grant_mapping(vcpu, op.host_addr, mfn, op.flags)
    if mapped != abi.GNTST_okay and op.flags & abi.GNTMAP_device_map:
        unreference(mfn, readonly)
    return mapped


def fill_handle(
    d: Ptr[Domain], handle: GrantHandle, mfn: Mfn, op: Ptr[Tainted[abi.gnttab_map_grant_ref]]
) -> None:
    """Note what a handle stands for. Locks: takes the grant lock."""
    with d.grant.lock:
        entry = maptrack_at(d, u32(handle))
        if entry is not None:
            entry.mfn = mfn
            # The granter and its entry were found; of the flags only these are looked at
            entry.use.grant = trusted(op.ref)
            entry.domain_id = DomId(trusted(op.dom))
            entry.flags = truncate(u16, trusted(op.flags))
