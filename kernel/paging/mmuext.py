"""mmuext_op: a list of operations on page tables as a whole, base pointers, TLBs, caches and the
LDT.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    i32,
    i64,
    inline,
    ok,
    ref,
    require,
    store,
    truncate,
    trusted,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, guest_address_okay, guest_array_okay
from kernel.base.ids import DomId, Mfn
from kernel.base.registry import hypercall
from kernel.frames.iomem import has_io_memory
from kernel.frames.page_owner import PageOwner
from kernel.paging.base_pointer import new_guest_cr3, new_user_cr3, pin_table, unpin_table
from kernel.paging.foreign import find_page_owner, may_act_on
from kernel.paging.mmu_update import MMU_UPDATE_PREEMPTED, earlier_progress, report_progress
from kernel.paging.page_copy import clear_guest_page, copy_guest_page
from kernel.paging.segments import MAX_LDT_ENTRIES, set_ldt
from kernel.paging.table_ref import put_old_guest_table
from kernel.paging.update_va import cpus_of_vcpus, flush_va
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.cpu import wbinvd
from kernel.x86.preempt import preempt_pending
from kernel.x86.tlb import flush_tlb_local, flush_tlb_one_local

UNUSED_COMMAND = 14


@hypercall(abi.__HYPERVISOR_mmuext_op)
def do_mmuext_op(
    v: Ptr[Vcpu],
    operations: Tainted[u64],
    count: Tainted[u64],
    done_out: Tainted[u64],
    foreign: Tainted[u64],
) -> i64:
    """Serve operations in order, until one fails.

    Hypercall: mmuext_op(operations: mmuext_op[count] in the guest, count: u32, done: u32 in the
    guest or 0, foreign: domid).
    Source: Xen public ABI, xen.h.
    Errors: -EFAULT, the operations; -ESRCH, no such domain; -EPERM, not allowed for that domain;
    -EINVAL, -EBUSY, as the page table deserves; -ENOSYS, no such operation. `done` tells how many
    were served.
    """
    wanted = truncate(u32, count)
    if put_old_guest_table(v) != 0:
        return hypercall_continue(v, operations, count, done_out, foreign)
    if wanted == MMU_UPDATE_PREEMPTED and operations == 0:
        return i64(trusted(truncate(i32, foreign)))  # the result of the earlier call
    before: Tainted[u32] = 0
    if wanted & MMU_UPDATE_PREEMPTED:
        wanted &= ~MMU_UPDATE_PREEMPTED
        before = earlier_progress(done_out)
    list_ = Guest[abi.mmuext_op](operations)
    require(guest_array_okay(list_, u64(wanted)), -abi.EFAULT)
    wanted = trusted(wanted)  # so many are in the guest's memory
    return serve_list(v, list_, wanted, before, done_out, foreign)


@inline
def serve_list(
    v: Ptr[Vcpu],
    list_: Guest[abi.mmuext_op],
    count: u32,
    before: Tainted[u32],
    done_out: Tainted[u64],
    foreign: Tainted[u64],
) -> i64:
    """Serve the operations, and arrange for the rest to be served later if that takes too long."""
    owner = PageOwner()
    ok(find_page_owner(v, foreign, ref(owner)))
    target = owner.domain
    if target is None or owner.domain_id == DomId(abi.DOMID_IO):
        return refuse_io_memory(v, list_, count)
    done: u32 = 0
    with owner:
        require(may_act_on(v.domain, owner.domain_id), -abi.EPERM)
        result = serve_operations(v, list_, count, target, ref(done))
    report_progress(done_out, before, done)
    if result == -abi.ERESTART:
        rest = list_.index(u64(done)).address()
        left = u64(count - done | MMU_UPDATE_PREEMPTED)
        return hypercall_continue(v, rest, left, done_out, foreign)
    if v.old_guest_table is not None:
        return hypercall_continue(v, 0, MMU_UPDATE_PREEMPTED, 0, truncate(u64, result))
    return result


def refuse_io_memory(v: Ptr[Vcpu], list_: Guest[abi.mmuext_op], count: u32) -> i64:
    """Say why the first operation is none on I/O memory.

    Errors: -EPERM, an unprivileged caller, or the operation is about the caller itself; -EINVAL,
    frames of that owner can't be used so; those of `serve_operation`.
    """
    op = uninitialized(Tainted[abi.mmuext_op])
    require(v.domain.is_privileged, -abi.EPERM)
    if count == 0:
        return 0
    require(copy_from_guest(ref(op), list_), -abi.EFAULT)
    match op.cmd:
        case abi.MMUEXT_MARK_SUPER | abi.MMUEXT_UNMARK_SUPER:
            return -abi.EOPNOTSUPP
        case abi.MMUEXT_CLEAR_PAGE | abi.MMUEXT_COPY_PAGE:
            return -abi.EINVAL
        case _:
            pass
    require(op.cmd <= abi.MMUEXT_UNMARK_SUPER and op.cmd != UNUSED_COMMAND, -abi.ENOSYS)
    return -abi.EINVAL if op.cmd <= abi.MMUEXT_UNPIN_TABLE else -abi.EPERM


@inline
def serve_operations(
    v: Ptr[Vcpu], list_: Guest[abi.mmuext_op], count: u32, d: Ptr[Domain], done: Ptr[u32]
) -> i64:
    """Serve operations on domain `d` in order, and count them in `done`.

    Errors: the first that one meets; -ERESTART, the rest must wait.
    """
    op = uninitialized(Tainted[abi.mmuext_op])
    for i in range(count):
        may_go_on = i == 0 or v.old_guest_table is None and not preempt_pending()
        require(may_go_on, -abi.ERESTART)
        require(copy_from_guest(ref(op), list_.index(u64(i))), -abi.EFAULT)
        ok(serve_operation(v, ref(op), d))
        store(done, i + 1)
    return 0


@inline
def serve_operation(v: Ptr[Vcpu], op: Ptr[Tainted[abi.mmuext_op]], d: Ptr[Domain]) -> i64:
    """Serve one operation on domain `d`: those on pages and tables work on any, the rest is about
    the caller.
    """
    mfn = Mfn(trusted(op.arg1.mfn))  # each of them takes any number
    match op.cmd:
        case (
            abi.MMUEXT_PIN_L1_TABLE
            | abi.MMUEXT_PIN_L2_TABLE
            | abi.MMUEXT_PIN_L3_TABLE
            | abi.MMUEXT_PIN_L4_TABLE
        ):
            return pin_table(v, d, mfn, op.cmd - abi.MMUEXT_PIN_L1_TABLE + 1)
        case abi.MMUEXT_UNPIN_TABLE:
            return unpin_table(v, d, mfn)
        case abi.MMUEXT_CLEAR_PAGE:
            return clear_guest_page(d, mfn)
        case abi.MMUEXT_COPY_PAGE:
            return copy_guest_page(d, mfn, Mfn(trusted(op.arg2.src_mfn)))  # any, too
        case abi.MMUEXT_MARK_SUPER | abi.MMUEXT_UNMARK_SUPER:
            return -abi.EOPNOTSUPP
        case _:
            return serve_own(v, op, d)


@inline
def serve_own(v: Ptr[Vcpu], op: Ptr[Tainted[abi.mmuext_op]], d: Ptr[Domain]) -> i64:
    """Serve an operation that is about the caller.

    Errors: -EPERM, another domain was named; -ENOSYS, no such operation.
    """
    require(op.cmd <= abi.MMUEXT_UNMARK_SUPER and op.cmd != UNUSED_COMMAND, -abi.ENOSYS)
    require(d == v.domain, -abi.EPERM)
    match op.cmd:
        case abi.MMUEXT_NEW_BASEPTR:
            return new_guest_cr3(v, Mfn(trusted(op.arg1.mfn)))  # which takes any number
        case abi.MMUEXT_NEW_USER_BASEPTR:
            return new_user_cr3(v, Mfn(trusted(op.arg1.mfn)))  # which takes any number
        case abi.MMUEXT_SET_LDT:
            return change_ldt(v, op.arg1.linear_addr, op.arg2.nr_ents)
        case abi.MMUEXT_FLUSH_CACHE | abi.MMUEXT_FLUSH_CACHE_GLOBAL:
            return flush_cache(d, op.cmd)
        case _:
            return flush(v, op)


@inline
def flush(v: Ptr[Vcpu], op: Ptr[Tainted[abi.mmuext_op]]) -> i64:
    """Serve a TLB flush. An address of the core's is no error, and flushes nothing.

    Errors: -EINVAL, the bitmap can't be read.
    """
    is_single = op.cmd in (abi.MMUEXT_INVLPG_LOCAL, abi.MMUEXT_INVLPG_MULTI, abi.MMUEXT_INVLPG_ALL)
    va = op.arg1.linear_addr
    cpus = v.domain.dirty_cpumask
    if op.cmd in (abi.MMUEXT_TLB_FLUSH_MULTI, abi.MMUEXT_INVLPG_MULTI):
        found = cpus_of_vcpus(v.domain, op.arg2.vcpumask)
        require(found.error == 0, -abi.EINVAL)
        cpus = found.value
    if is_single and not guest_address_okay(va):
        return 0
    va = trusted(va)  # it is looked at for one address only, which is the guest's
    if op.cmd == abi.MMUEXT_INVLPG_LOCAL:
        flush_tlb_one_local(va)
    elif op.cmd == abi.MMUEXT_TLB_FLUSH_LOCAL:
        flush_tlb_local()
    else:
        flush_va(cpus, va, is_single)
    return 0


def flush_cache(d: Ptr[Domain], cmd: Tainted[u32]) -> i64:
    """Write the processor's caches back, for a domain with devices: on this processor only, the
    caches being coherent.

    Errors: -EACCES (FLUSH_CACHE), -EINVAL (FLUSH_CACHE_GLOBAL), a domain without device memory.
    """
    is_local = cmd == abi.MMUEXT_FLUSH_CACHE
    require(has_io_memory(d), -abi.EACCES if is_local else -abi.EINVAL)
    wbinvd()
    return 0


def change_ldt(v: Ptr[Vcpu], base: Tainted[u64], nr_entries: Tainted[u32]) -> i64:
    """Set the LDT of the running vCPU.

    Errors: -EINVAL, not at a page's beginning, the core's address, or too many entries.
    """
    address = base if nr_entries != 0 else 0
    require(
        address % 4096 == 0 and guest_address_okay(address) and nr_entries <= MAX_LDT_ENTRIES,
        -abi.EINVAL,
    )
    if v.ldt_ents != nr_entries or v.ldt_base != address:
        with v.domain.page_lock:
            set_ldt(v, address, nr_entries)
    return 0
