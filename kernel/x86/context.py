"""Context switches: loading a vCPU's state into a processor, and saving what only the processor
knows.

General registers are not the concern here: the entry assembly keeps them in the Vcpu. A processor
that goes idle saves but unloads nothing; when the same vCPU comes back, nothing needs loading.
`Pcpu.current` names the vCPU whose state is loaded, and `Vcpu.loaded_cpu` (number + 1) the
processor that loaded it last; both must agree for the state to be good.
"""

from kpy import (
    Ptr,
    Tainted,
    atomic_and,
    atomic_or,
    bit,
    extern,
    inline,
    ref,
    truncate,
    trusted,
    u16,
    u32,
    u64,
)

from kernel.base.ids import PAGE_SHIFT, mfn_or_0
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import (
    CR4_DE,
    CR4_TSD,
    MSR_FS_BASE,
    MSR_GS_BASE,
    MSR_KERNEL_GS_BASE,
    MSR_TSC_AUX,
)
from kernel.x86.cpu import (
    read_ds,
    read_es,
    read_fs,
    read_gs,
    swapgs,
    write_cr3,
    write_cr4,
    write_dr0,
    write_dr1,
    write_dr2,
    write_dr3,
    write_dr6,
    write_dr7,
    wrmsr,
)
from kernel.x86.descriptors import load_gdt, load_ldt
from kernel.x86.features import core_cr4, has_rdtscp
from kernel.x86.fpu import fpu_load, fpu_save
from kernel.x86.percpu import Pcpu, stack_end, this_cpu
from kernel.x86.perdomain import gdt_window, ldt_window
from kernel.x86.predictors import leave_domain, load_spec_ctrl
from kernel.x86.syscall_entry import syscall_scratch
from kernel.x86.tlb import note_flush_start, stop_being_lazy
from kernel.x86.vectors import DR7_FIXED

DR7_ENABLED = 0xFF
GUEST_CR4 = CR4_TSD | CR4_DE  # bits that follow the guest's choice; DE only ever makes more faults


@extern
def load_ds_safe(selector: u32) -> u64:
    """Load DS; 1 when the guest's tables lack the segment, and DS is null then (fault_safe.asm)."""


@extern
def load_es_safe(selector: u32) -> u64: ...


@extern
def load_fs_safe(selector: u32) -> u64: ...


@extern
def load_gs_safe(selector: u32) -> u64: ...


@extern
def load_user_gs_safe(selector: u32) -> u64: ...


def switch_to(previous: Ptr[Vcpu] | None, next: Ptr[Vcpu]) -> None:
    """Load `next` on this processor; `previous`, if any, ran until now and is saved."""
    cpu = this_cpu()
    if previous is not None:
        save_context(previous)
    stop_being_lazy(cpu)
    if cpu.current == next and next.loaded_cpu == cpu.id + 1:
        resume_loaded(cpu, next)
        return
    load_context(cpu, next)


def resume_loaded(cpu: Ptr[Pcpu], v: Ptr[Vcpu]) -> None:
    """Finish a switch to the vCPU whose state never left this processor."""
    if cpu.loaded_cr3 != v.cr3:
        load_cr3(cpu, v.cr3)
    fpu_load(cpu, v)


def save_context(v: Ptr[Vcpu]) -> None:
    """Save what the processor alone knows of the vCPU that ran here; afterwards any processor may
    run it.
    """
    cpu = this_cpu()
    if cpu.is_lazy:
        return
    read_selectors(v)
    fpu_save(cpu, v)
    cpu.is_lazy = True


def load_context(cpu: Ptr[Pcpu], v: Ptr[Vcpu]) -> None:
    """Load everything of a vCPU."""
    previous = cpu.current
    mask = bit(u64(cpu.id))
    atomic_or(ref(v.domain.dirty_cpumask), mask)
    stay = v.loaded_cpu == cpu.id + 1 and cpu.loaded_cr3 == v.cr3
    cpu.current = v
    v.loaded_cpu = cpu.id + 1
    set_entry_stack(cpu, v)
    if not stay:
        load_cr3(cpu, v.cr3)
    if previous is not None and previous.domain != v.domain:
        atomic_and(ref(previous.domain.dirty_cpumask), ~mask)
        leave_domain()
    load_tables(cpu, v)
    load_segments(v)
    load_debug_registers(v)
    load_cr4(v)
    if has_rdtscp and cpu.tsc_aux != v.tsc_aux:
        cpu.tsc_aux = v.tsc_aux
        wrmsr(MSR_TSC_AUX, u64(trusted(v.tsc_aux)))  # any 32 bits will do
    load_spec_ctrl(cpu, v.spec_ctrl)
    fpu_load(cpu, v)


@inline
def set_entry_stack(cpu: Ptr[Pcpu], v: Ptr[Vcpu]) -> None:
    """Let traps and system calls push into this vCPU, and continue on this processor's stack."""
    end = u64(ref(v.regs.ss)) + 8
    cpu.tss.rsp0 = end
    syscall_scratch[cpu.id].rsp0 = end
    v.stack_top = stack_end(cpu)


@inline
def load_cr3(cpu: Ptr[Pcpu], cr3: u64) -> None:
    """Load page tables, which flushes the guest's translations."""
    note_flush_start(cpu)
    cpu.loaded_cr3 = cr3
    write_cr3(cr3)


@inline
def choose_cr3(v: Ptr[Vcpu]) -> None:
    """Set `v.cr3` for the mode that the vCPU is in: to its L4, or 0 where it has none."""
    v.cr3 = mfn_or_0(v.guest_table if v.kernel_mode else v.guest_table_user) << PAGE_SHIFT


def write_ptbase(v: Ptr[Vcpu]) -> None:
    """Set `v.cr3` for the mode that the vCPU is in, and load it if it is the running one."""
    choose_cr3(v)
    cpu = this_cpu()
    if cpu.current == v and not cpu.is_lazy:
        load_cr3(cpu, v.cr3)


@inline
def toggle_guest_mode(v: Ptr[Vcpu]) -> None:
    """Change the running vCPU between guest kernel and guest user mode: page tables and GS base."""
    v.kernel_mode = not v.kernel_mode
    choose_cr3(v)
    cpu = this_cpu()
    cpu.loaded_cr3 = v.cr3
    swapgs()
    write_cr3(v.cr3)


def load_tables(cpu: Ptr[Pcpu], v: Ptr[Vcpu]) -> None:
    """Use a vCPU's descriptor tables."""
    if cpu.loaded_gdt != gdt_window(v):
        cpu.loaded_gdt = gdt_window(v)
        load_gdt(gdt_window(v))
    if v.ldt_ents != 0 or cpu.has_ldt:
        cpu.has_ldt = v.ldt_ents != 0
        load_ldt(cpu, ldt_window(v), v.ldt_ents)


def load_guest_descriptor_tables(v: Ptr[Vcpu]) -> None:
    """Use the running vCPU's descriptor tables after a change. The GDT window has a fixed place and
    size.
    """
    load_tables(this_cpu(), v)


def read_selectors(v: Ptr[Vcpu]) -> None:
    """Note the data-segment selectors of the running vCPU in its registers."""
    v.regs.ds = truncate(u16, read_ds())
    v.regs.es = truncate(u16, read_es())
    v.regs.fs = truncate(u16, read_fs())
    v.regs.gs = truncate(u16, read_gs())


def load_segments(v: Ptr[Vcpu]) -> None:
    """Load data-segment selectors and bases. A base set by hypercall counts where the selector is
    null.

    A selector that the guest's tables no longer hold becomes null; the ABI's failsafe callback is
    for IRET frames only here.
    """
    regs = ref(v.regs)
    if (read_ds() | read_es() | u32(regs.ds) | u32(regs.es)) != 0:
        load_ds_safe(u32(trusted(regs.ds)))  # the processor looks at it
        load_es_safe(u32(trusted(regs.es)))
    if read_fs() | u32(regs.fs) != 0:
        load_fs_safe(u32(trusted(regs.fs)))
    if u32(regs.fs) <= 3:
        wrmsr(MSR_FS_BASE, trusted(v.fs_base))  # canonical: whoever set it has looked
    if regs.gs <= 3:
        if read_gs() != 0:
            load_gs_safe(0)
        wrmsr(MSR_KERNEL_GS_BASE, trusted(v.gs_base_user))  # canonical
    else:
        load_user_gs_safe(u32(trusted(regs.gs)))  # the processor looks at it
    wrmsr(MSR_GS_BASE, trusted(v.gs_base_kernel))  # canonical
    if not v.kernel_mode:
        swapgs()


def set_fs_base(v: Ptr[Vcpu], base: Tainted[u64]) -> None:
    """Set the running vCPU's FS base. The caller has checked that it is canonical, as for the next
    two.
    """
    v.fs_base = base
    wrmsr(MSR_FS_BASE, trusted(base))  # canonical


def set_gs_base_kernel(v: Ptr[Vcpu], base: Tainted[u64]) -> None:
    """Set the GS base of guest kernel mode; the running vCPU is in it."""
    v.gs_base_kernel = base
    wrmsr(MSR_GS_BASE, trusted(base))  # canonical


def set_gs_base_user(v: Ptr[Vcpu], base: Tainted[u64]) -> None:
    """Set the GS base of guest user mode; the running vCPU is in kernel mode."""
    v.gs_base_user = base
    wrmsr(MSR_KERNEL_GS_BASE, trusted(base))  # canonical


def load_gs_user_selector(selector: u32) -> bool:
    """Load GS for guest user mode, with the base that its descriptor says; false when there is no
    such segment.
    """
    return load_user_gs_safe(selector & 0xFFFF) == 0


def load_debug_registers(v: Ptr[Vcpu]) -> None:
    """Arm the running vCPU's breakpoints, or disarm those of another."""
    cpu = this_cpu()
    if v.debugreg[7] & DR7_ENABLED != 0:
        write_dr0(v.debugreg[0])
        write_dr1(v.debugreg[1])
        write_dr2(v.debugreg[2])
        write_dr3(v.debugreg[3])
        write_dr6(v.debugreg[6])
        write_dr7(v.debugreg[7])
        cpu.debug_loaded = True
    elif cpu.debug_loaded:
        write_dr7(DR7_FIXED)
        cpu.debug_loaded = False


def load_cr4(v: Ptr[Vcpu]) -> None:
    """Load CR4 with the bits that the running vCPU chose."""
    cpu = this_cpu()
    cr4 = core_cr4 & ~GUEST_CR4 | v.cr4 & GUEST_CR4
    if cpu.cr4 != cr4:
        cpu.cr4 = cr4
        write_cr4(cr4)
