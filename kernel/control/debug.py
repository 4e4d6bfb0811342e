"""domctl operations for a debugger of a guest, as gdbsx uses them: who debugs, memory, single
steps, and pausing one vCPU of a paused domain.

Registers go by XEN_DOMCTL_getvcpucontext and setvcpucontext. Memory is found through the page
tables of the guest kernel on vCPU 0, which the core has validated; a frame is touched only while
referenced as the domain's own, and written only while it is of the writable type, so a debugger can
change no page table and nobody else's memory, whatever it asks for.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Slice,
    Tainted,
    atomic_add,
    atomic_load,
    i64,
    ref,
    require,
    u8,
    u32,
    u64,
    wrapping_add,
)

from kernel.base.guest_memory import copy_slice_from_guest, copy_slice_to_guest
from kernel.base.ids import PAGE_SIZE, Mfn
from kernel.base.registry import domctl
from kernel.control.vcpus import vcpu_of
from kernel.frames.frame import get_frame, put_frame
from kernel.frames.page_type import PGT_writable_page, get_frame_and_type, put_frame_and_type
from kernel.paging.entry import entry_mfn
from kernel.paging.guest_walk import find_l1e, find_l1e_below
from kernel.sched.pause import MAX_CONTROLLER_PAUSES, domain_pause, domain_unpause
from kernel.sched.wake import vcpu_sleep_sync, vcpu_unpause
from kernel.state.domain import Domain, DOMDYING_alive
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import EFLAGS_TF, PTE_PRESENT
from kernel.x86.memlayout import mfn_to_vaddr

MOST_BYTES = 1 << 16  # of one XEN_DOMCTL_gdbsx_guestmemio, which is not preemptible
NO_VCPU = (1 << 32) - 1  # what the toolstack takes for: none trapped


@domctl(abi.XEN_DOMCTL_setdebugging)
def domctl_setdebugging(
    caller: Ptr[Vcpu], d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_setdebugging]]
) -> i64:
    """Say whether a debugger takes the breakpoints and steps of a domain's kernel.

    Errors: -EINVAL, it is the caller's own domain.
    """
    require(caller.domain != d, -abi.EINVAL)
    d.debugger_attached = op.enable != 0
    return 0


@domctl(abi.XEN_DOMCTL_debug_op)
def domctl_debug_op(caller: Ptr[Vcpu], d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl]]) -> i64:
    """Switch single stepping of one vCPU on or off: the trap flag in its rflags.

    Errors: -EINVAL, the caller's own domain, no such vCPU, or an unknown operation.
    """
    v = vcpu_of(d, op.u.debug_op.vcpu)
    require(v is not None and caller.domain != d, -abi.EINVAL)
    pause_vcpu(v)
    result = set_single_step(v, op.u.debug_op.op)
    vcpu_unpause(v)
    return result


def set_single_step(v: Ptr[Vcpu], operation: Tainted[u32]) -> i64:
    """Set or clear the trap flag of a vCPU that does not run."""
    match operation:
        case abi.XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF:
            v.regs.rflags &= ~u64(EFLAGS_TF)
            v.is_single_stepped = False
        case abi.XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON:
            v.regs.rflags |= EFLAGS_TF
            v.is_single_stepped = True
        case _:
            return -abi.EINVAL
    return 0


def pause_vcpu(v: Ptr[Vcpu]) -> None:
    """Keep one vCPU of another domain from running; returns when its state is in memory."""
    atomic_add(ref(v.pause_count), 1)
    vcpu_sleep_sync(v)


@domctl(abi.XEN_DOMCTL_gdbsx_pausevcpu)
def domctl_gdbsx_pausevcpu(
    d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_gdbsx_pauseunp_vcpu]]
) -> i64:
    """Keep one vCPU paused when the rest of its domain goes on.

    Errors: -EBUSY, the domain isn't paused by the toolstack; -EINVAL, no such vCPU; -EOVERFLOW.
    """
    require(d.controller_pause_count != 0, -abi.EBUSY)
    v = vcpu_of(d, op.vcpu)
    require(v is not None, -abi.EINVAL)
    require(v.controller_pause_count < MAX_CONTROLLER_PAUSES, -abi.EOVERFLOW)
    v.controller_pause_count += 1
    pause_vcpu(v)
    return 0


@domctl(abi.XEN_DOMCTL_gdbsx_unpausevcpu)
def domctl_gdbsx_unpausevcpu(
    d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_gdbsx_pauseunp_vcpu]]
) -> i64:
    """Undo one gdbsx_pausevcpu.

    Errors: -EBUSY, the domain isn't paused by the toolstack; -EINVAL, no such vCPU, or it isn't
    paused.
    """
    require(d.controller_pause_count != 0, -abi.EBUSY)
    v = vcpu_of(d, op.vcpu)
    require(v is not None, -abi.EINVAL)
    require(v.controller_pause_count != 0, -abi.EINVAL)
    v.controller_pause_count -= 1
    vcpu_unpause(v)
    return 0


@domctl(abi.XEN_DOMCTL_gdbsx_domstatus, result=True)
def domctl_gdbsx_domstatus(
    d: Ptr[Domain], status: Ptr[Tainted[abi.xen_domctl_gdbsx_domstatus]]
) -> i64:
    """Tell whether a domain is paused by the toolstack or a trap, and one vCPU that trapped.

    Each trap is told once.
    """
    status.paused = 0
    status.vcpu_id = NO_VCPU
    if d.controller_pause_count == 0:
        return 0
    status.paused = 1
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None and v.debugger_event != 0:
            status.vcpu_id = i
            status.vcpu_ev = v.debugger_event
            v.debugger_event = 0
            return 0
    return 0


@domctl(abi.XEN_DOMCTL_gdbsx_guestmemio, result=True)
def domctl_gdbsx_guestmemio(
    caller: Ptr[Vcpu], d: Ptr[Domain], io: Ptr[Tainted[abi.xen_domctl_gdbsx_memio]]
) -> i64:
    """Copy between the caller's memory and the virtual memory of another domain.

    Errors: -EINVAL, the caller's own domain, or it has no vCPU; -EOPNOTSUPP, `pgd3val`, which is
    for 32-bit guests; -E2BIG, more than 64 KiB; -EFAULT, not all could be copied.
    """
    length = io.len
    io.remain = length
    v = vcpu_of(d, 0)
    require(v is not None and caller.domain != d, -abi.EINVAL)
    require(io.pgd3val == 0, -abi.EOPNOTSUPP)
    require(length <= MOST_BYTES, -abi.E2BIG)
    require(d.is_dying == DOMDYING_alive, -abi.EFAULT)
    domain_pause(d)
    remain = copy_pages(v, io, length)
    domain_unpause(d)
    io.remain = remain
    require(remain == 0, -abi.EFAULT)
    return 0


def copy_pages(v: Ptr[Vcpu], io: Ptr[Tainted[abi.xen_domctl_gdbsx_memio]], length: u32) -> u32:
    """Copy page by page until one cannot be. Returns: how much is left."""
    done: u64 = 0
    while done < u64(length):
        address = wrapping_add(io.gva, done)
        size = min(u64(length) - done, PAGE_SIZE - (address & (PAGE_SIZE - 1)))
        if not copy_in_page(v, address, wrapping_add(io.uva, done), size, io.gwr != 0):
            break
        done += size
    return length - u32(done)


def copy_in_page(
    v: Ptr[Vcpu], address: Tainted[u64], buffer: Tainted[u64], size: u64, is_write: bool
) -> bool:
    """Copy within one page of a guest that does not run; `buffer` is the caller's.

    Returns: False when the page is not there, or is not to be touched in this way.
    """
    mfn = find_frame(v, address)
    require(mfn is not None, False)
    place = u64(mfn_to_vaddr(mfn)) + address % PAGE_SIZE
    memory = Slice[Tainted[u8]](
        Ptr[Tainted[u8]](place), size
    )  # touched while the frame is referenced, below
    if is_write:
        if not get_frame_and_type(mfn, v.domain, PGT_writable_page):
            return False
        copied = copy_slice_from_guest(memory, Guest[u8](buffer))
        put_frame_and_type(mfn)
    else:
        if not get_frame(mfn, v.domain):
            return False
        copied = copy_slice_to_guest(Guest[u8](buffer), memory)
        put_frame(mfn)
    return copied


def find_frame(v: Ptr[Vcpu], address: Tainted[u64]) -> Mfn | None:
    """Return the frame behind an address of the guest kernel, or else of its user mode.

    Locks: takes the domain's page_lock.
    """
    with v.domain.page_lock:
        entry = find_l1e(v, address)
        user_l4 = v.guest_table_user
        if entry is None and user_l4 is not None:
            entry = find_l1e_below(user_l4, address)
        require(entry is not None, None)
        l1e = atomic_load(entry)
        return entry_mfn(l1e) if l1e & PTE_PRESENT != 0 else None
