"""A vCPU's whole state as the ABI's vcpu_guest_context: how it starts, and how the toolstack sees
it.

Everything is checked before anything is changed, but for the page tables: their validation may stop
half way (-ERESTART), and then begins again with what has been validated so far.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Tainted,
    atomic_and,
    atomic_or,
    cast,
    copy,
    copy_slice,
    i64,
    load,
    ok,
    ref,
    require,
    truncate,
    trusted,
    u32,
    u64,
    zero,
)

from kernel.base.guest_memory import guest_address_okay
from kernel.base.ids import ENTRIES_PER_PAGE, PAGE_SHIFT, PAGE_SIZE, Mfn, Vaddr, mfn_or_0
from kernel.emulate.control import CR4_GUEST, guest_cr0, guest_cr4
from kernel.entry.callback import RPL_USER
from kernel.entry.debugreg import get_debugreg, set_debugreg_value
from kernel.frames.core_page import alloc_core_page, free_core_page
from kernel.paging.base_pointer import set_guest_tables
from kernel.paging.segments import MAX_LDT_ENTRIES, destroy_gdt, set_gdt, set_ldt
from kernel.sched.time import update_vcpu_time
from kernel.state.domain import DOMDYING_alive
from kernel.state.vcpu import Vcpu, VPF_down
from kernel.x86.bits import EFLAGS_IF, EFLAGS_IOPL, IOPL_SHIFT
from kernel.x86.canonical import is_canonical
from kernel.x86.context import choose_cr3
from kernel.x86.fpu import fpu_changed, fpu_fxsave_view

CALLBACK_FLAGS = abi.VGCF_failsafe_disables_events | abi.VGCF_syscall_disables_events
MAX_GDT_ENTRIES = abi.FIRST_RESERVED_GDT_ENTRY
NR_GDT_FRAMES = 14
NR_DEBUG_REGISTERS = 8
VALID_VM_ASSIST = (
    1 << abi.VMASST_TYPE_4gb_segments
    | 1 << abi.VMASST_TYPE_4gb_segments_notify
    | 1 << abi.VMASST_TYPE_writable_pagetables
    | 1 << abi.VMASST_TYPE_pae_extended_cr3
    | 1 << abi.VMASST_TYPE_architectural_iopl
    | 1 << abi.VMASST_TYPE_runstate_update_flag
    | 1 << abi.VMASST_TYPE_m2p_strict
)


def arch_init_vcpu(v: Ptr[Vcpu]) -> bool:
    """Prepare the trap state of a new vCPU. False: no memory."""
    page = alloc_core_page()
    require(page is not None, False)
    # a page of 256 entries, the vCPU's own
    v.trap_table = Ptr[Array[Tainted[abi.trap_info], 256]](u64(page))
    v.kernel_mode = True
    return True


def arch_free_vcpu(v: Ptr[Vcpu]) -> None:
    """Free what `arch_init_vcpu` took, if it came to that."""
    page = load(cast(u64, ref(v.trap_table)))  # as a number, which may be 0
    if page != 0:
        free_core_page(Vaddr(page))


def arch_set_vcpu_context(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> i64:
    """Give a vCPU that does not run its whole state.

    Errors: -EINVAL, a bad address, table or missing page table; -EOPNOTSUPP, it was started and has
    other tables now; -EBUSY and others, from the GDT and the page tables; -ERESTART, not done yet.
    """
    ok(decode_context(v, c))
    if v.initialised:
        require(same_tables(v, c), -abi.EOPNOTSUPP)
    else:
        ok(install_tables(v, c))
    install_registers(v, c)
    update_vcpu_time(v)  # again: a builder clears the shared page
    v.initialised = True
    if c.flags & abi.VGCF_online:
        atomic_and(ref(v.pause_flags), ~u32(VPF_down))
    else:
        atomic_or(ref(v.pause_flags), VPF_down)
    return 0


def decode_context(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> i64:
    """Check everything but the tables, whose owners do that."""
    require(is_canonical(c.user_regs.rip), -abi.EINVAL)
    require(is_canonical(c.event_callback_eip), -abi.EINVAL)
    require(is_canonical(c.syscall_callback_eip), -abi.EINVAL)
    require(is_canonical(c.failsafe_callback_eip), -abi.EINVAL)
    for trap in c.trap_ctxt:
        require(is_canonical(trap.address), -abi.EINVAL)
    require(c.ldt_ents <= MAX_LDT_ENTRIES and c.ldt_base & (PAGE_SIZE - 1) == 0, -abi.EINVAL)
    require(c.ldt_ents == 0 or guest_address_okay(c.ldt_base), -abi.EINVAL)
    require(
        is_canonical(c.fs_base) and is_canonical(c.gs_base_kernel) and is_canonical(c.gs_base_user),
        -abi.EINVAL,
    )
    require(c.gdt_ents <= MAX_GDT_ENTRIES, -abi.EINVAL)
    require(c.flags & abi.VGCF_in_kernel or c.ctrlreg[1] >> PAGE_SHIFT != 0, -abi.EINVAL)
    require(v.vcpu_id != 0 or c.vm_assist & ~VALID_VM_ASSIST == 0, -abi.EINVAL)
    return 0


def same_tables(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> bool:
    """Tell whether a started vCPU has a context's tables: they can't be changed any more."""
    require(c.ctrlreg[3] == mfn_or_0(v.guest_table) << PAGE_SHIFT, False)
    require(c.ctrlreg[1] == mfn_or_0(v.guest_table_user) << PAGE_SHIFT, False)
    require(c.gdt_ents == u64(v.gdt_ents) and c.ldt_ents == u64(v.ldt_ents), False)
    nr = (c.gdt_ents + ENTRIES_PER_PAGE - 1) // ENTRIES_PER_PAGE
    for i in range(nr):
        require(c.gdt_frames[i] == mfn_or_0(v.gdt_frames[i]), False)
    return v.ldt_ents == 0 or c.ldt_base == v.ldt_base


def install_tables(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> i64:
    """Validate and reference descriptor and page tables. A failure leaves none of them.

    Errors: -EINVAL, also for a dying domain: nobody would give its references back. Locks: takes
    the domain's page_lock, step by step: the vCPU doesn't run.
    """
    require(v.domain.is_dying == DOMDYING_alive, -abi.EINVAL)
    with v.domain.page_lock:
        ok(set_gdt(v, ref(c.gdt_frames), min(truncate(u32, c.gdt_ents), MAX_GDT_ENTRIES)))
    # set_guest_tables takes any numbers
    kernel_l4, user_l4 = trusted(c.ctrlreg[3]), trusted(c.ctrlreg[1])
    result = set_guest_tables(v, Mfn(kernel_l4 >> PAGE_SHIFT), Mfn(user_l4 >> PAGE_SHIFT))
    with v.domain.page_lock:
        if result == 0:
            set_ldt(v, c.ldt_base, min(truncate(u32, c.ldt_ents), MAX_LDT_ENTRIES))
        else:
            destroy_gdt(v)
    return result


def install_registers(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> None:
    """Take over registers; selectors get ring 3, flags what a guest must have."""
    v.kernel_mode = c.flags & abi.VGCF_in_kernel != 0
    choose_cr3(v)
    copy(ref(v.regs), ref(c.user_regs))
    v.regs.cs |= RPL_USER
    v.regs.ss |= RPL_USER
    v.iopl = u32(v.regs.rflags >> IOPL_SHIFT & 3)
    v.regs.rflags = v.regs.rflags & ~u64(EFLAGS_IOPL) | EFLAGS_IF
    v.kernel_ss = c.kernel_ss | RPL_USER
    v.kernel_sp = c.kernel_sp
    v.cr4 = c.ctrlreg[4] & CR4_GUEST
    v.loaded_cpu = 0  # a processor that still holds its state must load it anew
    v.fs_base = c.fs_base
    v.gs_base_kernel = c.gs_base_kernel
    v.gs_base_user = c.gs_base_user
    if v.vcpu_id == 0:
        v.domain.vm_assist = c.vm_assist & VALID_VM_ASSIST
    install_entries(v, c)
    install_debug_registers(v, c)
    if c.flags & abi.VGCF_i387_valid:
        area = fpu_fxsave_view(v)
        copy_slice(area[0:512], c.fpu_ctxt.x[0:512])
        fpu_changed(v)


def install_entries(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> None:
    """Take over where traps and callbacks enter the guest."""
    for i in range(256):
        v.trap_table[i] = c.trap_ctxt[i]
        v.trap_table[i].cs |= RPL_USER
    v.event_callback_eip = c.event_callback_eip
    v.failsafe_callback_eip = c.failsafe_callback_eip
    v.syscall_callback_eip = c.syscall_callback_eip
    v.callback_flags = c.flags & CALLBACK_FLAGS


def install_debug_registers(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> None:
    """Take over the debug registers that are allowed; others become 0, as on Xen."""
    for i in range(u32(NR_DEBUG_REGISTERS)):
        v.debugreg[i] = 0
        set_debugreg_value(v, i, c.debugreg[i])


def arch_get_vcpu_context(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> None:
    """Describe a vCPU that does not run."""
    zero(c)
    describe_entries(v, c)
    c.flags |= abi.VGCF_i387_valid
    if v.kernel_mode:
        c.flags |= abi.VGCF_in_kernel
    if v.pause_flags & VPF_down == 0:
        c.flags |= abi.VGCF_online
    copy(ref(c.user_regs), ref(v.regs))
    c.user_regs.rflags |= u64(v.iopl) << IOPL_SHIFT
    area = fpu_fxsave_view(v)
    copy_slice(c.fpu_ctxt.x[0:512], area[0:512])
    describe_tables(v, c)
    c.kernel_ss = v.kernel_ss
    c.kernel_sp = v.kernel_sp
    c.ctrlreg[0] = guest_cr0(v)
    c.ctrlreg[2] = v.vcpu_info.arch.cr2
    c.ctrlreg[4] = guest_cr4(v)
    for i in range(u32(NR_DEBUG_REGISTERS)):
        c.debugreg[i] = get_debugreg(v, i).value  # there are so many
    c.vm_assist = v.domain.vm_assist
    c.fs_base = v.fs_base
    c.gs_base_kernel = v.gs_base_kernel
    c.gs_base_user = v.gs_base_user


def describe_entries(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> None:
    """Tell where traps and callbacks enter the guest."""
    for i in range(256):
        c.trap_ctxt[i] = v.trap_table[i]
    c.event_callback_eip = v.event_callback_eip
    c.failsafe_callback_eip = v.failsafe_callback_eip
    c.syscall_callback_eip = v.syscall_callback_eip
    c.flags = v.callback_flags & CALLBACK_FLAGS


def describe_tables(v: Ptr[Vcpu], c: Ptr[Tainted[abi.vcpu_guest_context]]) -> None:
    """Tell where a vCPU's descriptor and page tables are."""
    c.ldt_base = v.ldt_base
    c.ldt_ents = u64(v.ldt_ents)
    c.gdt_ents = u64(v.gdt_ents)
    for i in range(NR_GDT_FRAMES):
        c.gdt_frames[i] = mfn_or_0(v.gdt_frames[i])
    c.ctrlreg[3] = mfn_or_0(v.guest_table) << PAGE_SHIFT
    c.ctrlreg[1] = mfn_or_0(v.guest_table_user) << PAGE_SHIFT
