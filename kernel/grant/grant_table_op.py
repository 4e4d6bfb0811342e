"""The grant_table_op hypercall.

Each operation works on an array of structures; its outcome is the `status` in each.

Version 1 of the table only, no transfers, no transitive or sub-page grants.
"""

from typing import TypeVar

import abi
from kpy import (
    Fn,
    Guest,
    Ptr,
    Tainted,
    i16,
    i64,
    load,
    ref,
    require,
    store,
    truncate,
    u32,
    u64,
    uninitialized,
    wrapping_add,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.ids import PAGE_SIZE
from kernel.base.registry import hypercall
from kernel.grant.copy import copy_grants
from kernel.grant.map import map_grant_ref
from kernel.grant.pin import active_at, entry_at
from kernel.grant.setup import get_status_frames, get_version, query_size, set_version, setup_table
from kernel.grant.unmap import unmap_and_replace, unmap_grant_refs
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

T = TypeVar("T")

COMMAND_BITS = 12  # of the first argument; what is above is for Xen's way to continue a cache_flush
SOURCE_GREF = abi.GNTTAB_CACHE_SOURCE_GREF
KNOWN_FLUSHES = abi.GNTTAB_CACHE_INVAL | abi.GNTTAB_CACHE_CLEAN | SOURCE_GREF
MAX_COUNT = (1 << 31) - 1


@hypercall(abi.__HYPERVISOR_grant_table_op)
def do_grant_table_op(vcpu: Ptr[Vcpu], cmd: u64, arg: u64, count: u64) -> i64:
    """Serve a grant-table operation on `count` structures.

    Hypercall: grant_table_op(cmd: GNTTABOP_*, arg: array in the guest, count).
    Errors: -EINVAL, a negative count, or unknown bits in cmd; -EFAULT, the array; -ENOSYS, no such
    operation.
    """
    nr = truncate(u32, count)
    require(nr <= MAX_COUNT and truncate(u32, cmd) >> COMMAND_BITS == 0, -abi.EINVAL)
    match truncate(u32, cmd):
        case abi.GNTTABOP_map_grant_ref:
            return serve_each(
                vcpu,
                abi.GNTTABOP_map_grant_ref,
                Guest[abi.gnttab_map_grant_ref](arg),
                nr,
                map_grant_ref,
            )
        case abi.GNTTABOP_unmap_grant_ref:
            unmap_arg = Guest[abi.gnttab_unmap_grant_ref](arg)
            require(guest_array_okay(unmap_arg, u64(nr)), -abi.EFAULT)
            return unmap_grant_refs(vcpu, unmap_arg, nr)
        case abi.GNTTABOP_unmap_and_replace:
            replace_arg = Guest[abi.gnttab_unmap_and_replace](arg)
            require(guest_array_okay(replace_arg, u64(nr)), -abi.EFAULT)
            return unmap_and_replace(vcpu, replace_arg, nr)
        case abi.GNTTABOP_copy:
            copy_arg = Guest[abi.gnttab_copy](arg)
            require(guest_array_okay(copy_arg, u64(nr)), -abi.EFAULT)
            return copy_grants(vcpu, copy_arg, nr)
        case _:
            return serve_table_op(vcpu, truncate(u32, cmd), arg, nr)


def serve_table_op(vcpu: Ptr[Vcpu], cmd: u32, arg: u64, nr: u32) -> i64:
    """Serve the operations about a table as a whole, and the rare ones."""
    match cmd:
        case abi.GNTTABOP_setup_table:
            return setup_table(vcpu, Guest[abi.gnttab_setup_table](arg), nr)
        case abi.GNTTABOP_query_size:
            return query_size(vcpu, Guest[abi.gnttab_query_size](arg), nr)
        case abi.GNTTABOP_get_version:
            return get_version(vcpu, Guest[abi.gnttab_get_version](arg))
        case abi.GNTTABOP_set_version:
            return set_version(Guest[abi.gnttab_set_version](arg))
        case abi.GNTTABOP_get_status_frames:
            return get_status_frames(vcpu, Guest[abi.gnttab_get_status_frames](arg), nr)
        case abi.GNTTABOP_swap_grant_ref:
            return serve_each(vcpu, cmd, Guest[abi.gnttab_swap_grant_ref](arg), nr, swap_grant_ref)
        case abi.GNTTABOP_cache_flush:
            return cache_flush(vcpu, Guest[abi.gnttab_cache_flush](arg), nr)
        case _:
            return -abi.ENOSYS


def serve_each(
    vcpu: Ptr[Vcpu],
    cmd: u32,
    arg: Guest[T],
    count: u32,
    operation: Fn[[Ptr[Vcpu], Ptr[Tainted[T]]], None],
) -> i64:
    """Run an operation on each structure of an array, as long as nothing more urgent comes."""
    require(guest_array_okay(arg, u64(count)), -abi.EFAULT)
    for i in range(count):
        if i != 0 and preempt_pending():
            return hypercall_continue(
                vcpu, u64(cmd), arg.index(u64(i)).address(), u64(count - i), 0
            )
        op = uninitialized(Tainted[T])
        require(copy_from_guest(ref(op), arg.index(u64(i))), -abi.EFAULT)
        operation(vcpu, ref(op))
        require(copy_to_guest(arg.index(u64(i)), ref(op)), -abi.EFAULT)
    return 0


def swap_grant_ref(vcpu: Ptr[Vcpu], op: Ptr[Tainted[abi.gnttab_swap_grant_ref]]) -> None:
    """Exchange two entries of the caller's table, neither of which may be in use."""
    with vcpu.domain.grant.lock:
        op.status = swap_entries(vcpu.domain, op.ref_a, op.ref_b)


def swap_entries(d: Ptr[Domain], a: Tainted[u32], b: Tainted[u32]) -> i16:
    """Do the work of `swap_grant_ref`.

    Returns: GNTST_bad_gntref, no such entry; GNTST_eagain, one is in use.
    """
    entry_a = entry_at(d, a)
    entry_b = entry_at(d, b)
    active_a = active_at(d, a)
    active_b = active_at(d, b)
    if entry_a is None or entry_b is None or active_a is None or active_b is None:
        return abi.GNTST_bad_gntref
    if a != b and (active_a.pin != 0 or active_b.pin != 0):
        return abi.GNTST_eagain
    kept = load(entry_a)
    store(entry_a, load(entry_b))
    store(entry_b, kept)
    return abi.GNTST_okay


def cache_flush(vcpu: Ptr[Vcpu], arg: Guest[abi.gnttab_cache_flush], count: u32) -> i64:
    """Check cache flushes, of which x86, where devices see what is in the caches, needs none.

    Errors: -EFAULT; -EINVAL, the range leaves its page, or an unknown operation; -EOPNOTSUPP, by
    grant, or to invalidate.
    """
    for i in range(count):
        if i != 0 and preempt_pending():
            rest = arg.index(u64(i)).address()
            return hypercall_continue(vcpu, abi.GNTTABOP_cache_flush, rest, u64(count - i), 0)
        op = uninitialized(Tainted[abi.gnttab_cache_flush])
        require(copy_from_guest(ref(op), arg.index(u64(i))), -abi.EFAULT)
        end = wrapping_add(u64(op.offset), u64(op.length))
        require(end <= PAGE_SIZE and op.op | KNOWN_FLUSHES == KNOWN_FLUSHES, -abi.EINVAL)
        wanted = op.length != 0 and op.op & (KNOWN_FLUSHES - SOURCE_GREF) != 0
        require(not wanted or op.op & abi.GNTTAB_CACHE_INVAL == 0, -abi.EOPNOTSUPP)
        require(not wanted or op.op & SOURCE_GREF == 0, -abi.EOPNOTSUPP)
    return 0
