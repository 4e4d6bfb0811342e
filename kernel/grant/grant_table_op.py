"""The grant_table_op hypercall.

Each operation works on an array of structures; its outcome is the `status` in each.

Version 1 of the table only, no transfers, no transitive or sub-page grants.
"""

import abi
from kpy import (
    Array,
    Fn,
    Guest,
    Ptr,
    Tainted,
    i16,
    i64,
    load,
    ref,
    require,
    static,
    store,
    u32,
    u64,
    uninitialized,
    wrapping_add,
)

import kernel.grant.copy
import kernel.grant.map
import kernel.grant.setup
import kernel.grant.unmap  # noqa: F401  these four register their operations
from kernel.base.guest_memory import copy_from_guest
from kernel.base.ids import PAGE_SIZE
from kernel.base.registry import hypercall
from kernel.grant.operations import grant_table_op, grant_table_ops
from kernel.grant.pin import active_at, entry_at
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

COMMAND_BITS = 12  # of the first argument; what is above is for Xen's way to continue a cache_flush
SOURCE_GREF = abi.GNTTAB_CACHE_SOURCE_GREF
KNOWN_FLUSHES = abi.GNTTAB_CACHE_INVAL | abi.GNTTAB_CACHE_CLEAN | SOURCE_GREF
MAX_COUNT = (1 << 31) - 1
NR_OPS = abi.GNTTABOP_cache_flush + 1


GrantTableOperation = Fn[[Ptr[Vcpu], Tainted[u64], u32], i64]
operations = static(Array[GrantTableOperation | None, NR_OPS], grant_table_ops)


@hypercall(abi.__HYPERVISOR_grant_table_op)
def do_grant_table_op(
    vcpu: Ptr[Vcpu], cmd: Tainted[u32], arg: Tainted[u64], count: Tainted[u32]
) -> i64:
    """Serve a grant-table operation on `count` structures.

    Hypercall: grant_table_op(cmd: GNTTABOP_*, arg: array in the guest, count).
    Errors: -EINVAL, a negative count, or unknown bits in cmd; -EFAULT, the array; -ENOSYS, no such
    operation.
    """
    require(count <= MAX_COUNT and cmd >> COMMAND_BITS == 0, -abi.EINVAL)
    require(cmd < NR_OPS, -abi.ENOSYS)
    operation = operations[cmd]
    require(operation is not None, -abi.ENOSYS)
    return operation(vcpu, arg, count)


@grant_table_op(abi.GNTTABOP_swap_grant_ref)
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


@grant_table_op(abi.GNTTABOP_cache_flush)
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
