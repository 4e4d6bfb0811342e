"""mmu_update: a list of requests to change page-table entries or machine-to-physical entries."""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    i32,
    i64,
    inline,
    noinline,
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
    volatile_store,
    wrapping_add,
    wrapping_sub,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest, guest_array_okay
from kernel.base.ids import DomId, Mfn
from kernel.base.registry import hypercall
from kernel.frames.frame import frame_of, get_frame_of, page_at, put_frame
from kernel.frames.m2p import set_m2p
from kernel.frames.page_owner import PageOwner
from kernel.frames.page_type import get_writable_frame, level_in_force, put_frame_and_type
from kernel.paging.entry import STORE_KEEP_AD, STORE_PLAIN
from kernel.paging.entry_update import update_l1e, update_upper_entry
from kernel.paging.foreign import find_page_owner, may_act_on
from kernel.paging.table_ref import put_old_guest_table
from kernel.state.continuation import hypercall_continue
from kernel.state.domain import Domain, get_domain_by_id
from kernel.state.vcpu import Vcpu
from kernel.x86.preempt import preempt_pending

MMU_UPDATE_PREEMPTED = 1 << 31  # in `count`: this call goes on with one that stopped half way
COMMAND_MASK = 7
REQUESTS_PER_LOOK = 32  # requests done between two looks for more urgent work


@struct
class Batch:
    """Progress of one call, and whom it is about."""

    owner: PageOwner  # of the frames to be mapped
    tables: Ptr[Domain]  # whose page tables are changed
    nr_before: Tainted[u32]  # requests that earlier calls served, as the guest says
    nr_done: u32  # and this one


@hypercall(abi.__HYPERVISOR_mmu_update)
def do_mmu_update(
    v: Ptr[Vcpu],
    requests: Tainted[u64],
    count: Tainted[u64],
    done_out: Tainted[u64],
    foreign: Tainted[u64],
) -> i64:
    """Change page-table entries, in order, until one request fails.

    Hypercall: mmu_update(requests: mmu_update[count] in the guest, count: u32, done: u32 in the
    guest or 0, foreign: domid of the frames that are mapped | (domid of the tables' owner + 1) <<
    16).
    Source: Xen public ABI, xen.h.
    Errors: -EFAULT, the requests; -ESRCH, a domain that doesn't exist; -EPERM, not allowed for that
    domain, or an entry of the core; -EINVAL, not a page table, or an entry that breaks the rules;
    -EBUSY, the frame belongs to another, or is a page table and would become writable; -ENOSYS, no
    such command. `done` tells how many requests were served.
    """
    wanted = truncate(u32, count)
    if put_old_guest_table(v) != 0:
        return hypercall_continue(v, requests, count, done_out, foreign)
    if wanted == MMU_UPDATE_PREEMPTED and requests == 0:
        return i64(trusted(truncate(i32, foreign)))  # the result of the earlier call
    batch = Batch(tables=v.domain)
    if wanted & MMU_UPDATE_PREEMPTED:
        wanted &= ~MMU_UPDATE_PREEMPTED
        batch.nr_before = earlier_progress(done_out)
    list_ = Guest[abi.mmu_update](requests)
    require(guest_array_okay(list_, u64(wanted)), -abi.EFAULT)
    wanted = trusted(wanted)  # so many are in the guest's memory
    number = truncate(u32, foreign) >> 16
    if number != 0:
        return serve_other(v, list_, wanted, done_out, foreign, ref(batch))
    return serve_batch(v, list_, wanted, done_out, foreign, ref(batch))


@noinline
def serve_other(
    v: Ptr[Vcpu],
    list_: Guest[abi.mmu_update],
    count: u32,
    done_out: Tainted[u64],
    foreign: Tainted[u64],
    batch: Ptr[Batch],
) -> i64:
    """Serve requests on another domain's tables, which is named by its id + 1. Errors: -ESRCH."""
    number = wrapping_sub(truncate(u32, foreign) >> 16, 1)
    with get_domain_by_id(DomId(truncate(u16, number))) as tables:
        require(tables is not None, -abi.ESRCH)
        batch.tables = tables
        return serve_batch(v, list_, count, done_out, foreign, batch)


def earlier_progress(done_out: Tainted[u64]) -> Tainted[u32]:
    """Return how many requests a call that goes on had served: whatever the guest has there."""
    done: Tainted[u32] = 0
    if done_out != 0 and not copy_from_guest(ref(done), Guest[u32](done_out)):
        return 0
    return done


@inline
def report_progress(done_out: Tainted[u64], nr_before: Tainted[u32], nr_done: u32) -> None:
    """Tell the guest how many requests were served, if it wants to know.

    What was before is the guest's word, and wraps as on Xen.
    """
    done = wrapping_add(nr_before, nr_done)
    if done_out != 0:
        copy_to_guest(Guest[u32](done_out), ref(done))


@inline
def serve_batch(
    v: Ptr[Vcpu],
    list_: Guest[abi.mmu_update],
    count: u32,
    done_out: Tainted[u64],
    foreign: Tainted[u64],
    batch: Ptr[Batch],
) -> i64:
    """Serve the requests, and arrange for the rest to be served later if that takes too long."""
    ok(find_page_owner(v, foreign, ref(batch.owner)))
    with batch.owner, batch.tables.page_lock:
        result = serve_requests(v, list_, count, batch)
    report_progress(done_out, batch.nr_before, batch.nr_done)
    if result == -abi.ERESTART:
        rest = list_.index(u64(batch.nr_done)).address()
        left = count - batch.nr_done | MMU_UPDATE_PREEMPTED
        return hypercall_continue(v, rest, u64(left), done_out, foreign)
    if v.old_guest_table is not None:
        return hypercall_continue(v, 0, MMU_UPDATE_PREEMPTED, 0, truncate(u64, result))
    return result


@inline
def serve_requests(
    v: Ptr[Vcpu], list_: Guest[abi.mmu_update], count: u32, batch: Ptr[Batch]
) -> i64:
    """Serve requests in order. Errors: the first that one meets; -ERESTART, the rest must wait."""
    request = uninitialized(Tainted[abi.mmu_update])
    is_allowed = may_change(v.domain, batch)
    for i in range(count):
        require(i == 0 or not must_wait(v, i), -abi.ERESTART)
        require(copy_from_guest(ref(request), list_.index(u64(i))), -abi.EFAULT)
        command = request.ptr & COMMAND_MASK
        require(command <= abi.MMU_PT_UPDATE_NO_TRANSLATE, -abi.ENOSYS)
        require(is_allowed, -abi.EPERM)
        # It is split into a frame number, which may be any, and a word in it
        at, value = trusted(request.ptr), request.val
        if command == abi.MMU_MACHPHYS_UPDATE:
            result = update_m2p(v, at, value, batch)
        else:
            how: u32 = STORE_KEEP_AD if command == abi.MMU_PT_UPDATE_PRESERVE_AD else STORE_PLAIN
            result = update_entry(v, at & ~COMMAND_MASK, value, how, batch)
        if result != 0:
            return result
        batch.nr_done += 1
    return 0


@inline
def must_wait(v: Ptr[Vcpu], i: u32) -> bool:
    """Tell whether request `i` must wait: a table is to be released, or more urgent work waits."""
    return v.old_guest_table is not None or i % REQUESTS_PER_LOOK == 0 and preempt_pending()


@inline
def may_change(caller: Ptr[Domain], batch: Ptr[Batch]) -> bool:
    """Say whether the caller may change these tables, and map frames of that owner.

    I/O frames are checked one by one.
    """
    if caller.is_privileged:
        return True
    owner = batch.owner.domain_id
    return batch.tables == caller and (owner == DomId(abi.DOMID_IO) or may_act_on(caller, owner))


@inline
def update_entry(
    v: Ptr[Vcpu], address: u64, value: Tainted[u64], how: u32, batch: Ptr[Batch]
) -> i64:
    """Serve a request to change the entry at a machine address.

    While the table is in force, the page_lock keeps it so.
    """
    d = batch.tables
    mfn = Mfn(address >> 12)
    with frame_of(mfn, d) as frame:
        require(frame is not None, -abi.EINVAL)
        level = level_in_force(frame)
        if level == 0:
            return write_plain_frame(d, address, value)
        entry = ref(page_at(mfn)[(address & 4095) >> 3])
        if level == 1:
            return update_l1e(entry, value, d, ref(batch.owner), how)
        require(batch.owner.domain_id == d.domain_id, -abi.EINVAL)
        # It may take as long as all requests between two looks: one L1 table goes, another comes.
        require(batch.nr_done == 0 or not preempt_pending(), -abi.ERESTART)
        return update_upper_entry(v, entry, value, d, level, how)


@noinline
def write_plain_frame(d: Ptr[Domain], address: u64, value: Tainted[u64]) -> i64:
    """Serve a request for a word that is in no page table, just as if the guest had written it."""
    mfn = Mfn(address >> 12)
    require(get_writable_frame(mfn, d), -abi.EINVAL)
    volatile_store(ref(page_at(mfn)[(address & 4095) >> 3]), value)
    put_frame_and_type(mfn)
    return 0


def update_m2p(v: Ptr[Vcpu], address: u64, value: Tainted[u64], batch: Ptr[Batch]) -> i64:
    """Enter the number by which the owner of a frame calls it.

    Errors: -EPERM, tables of another were named; -EINVAL, not its frame.
    """
    mfn = Mfn(address >> 12)
    require(batch.tables == v.domain, -abi.EPERM)
    require(get_frame_of(mfn, batch.owner.domain_id), -abi.EINVAL)
    set_m2p(mfn, value)
    put_frame(mfn)
    return 0
