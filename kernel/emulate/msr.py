"""Model-specific registers as a PV guest sees them: a short list, and a #GP for everything else.

Stock Linux reads some that only make sense on the bare machine and looks at the fault; it gets the
fault. What it must be able to read has the value that the core programmed, or one that says
"nothing here". Writes that change nothing are swallowed.
"""

from kpy import Ptr, Tainted, truncate, trusted, u32, u64

from kernel.base.ids import PAGE_SHIFT, PAGE_SIZE, Mfn
from kernel.frames.page_type import PGT_writable_page, get_frame_and_type, put_frame_and_type
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import (
    EFER_AIBRSE,
    MSR_APIC_BASE,
    MSR_ARCH_CAPABILITIES,
    MSR_EFER,
    MSR_FS_BASE,
    MSR_GS_BASE,
    MSR_KERNEL_GS_BASE,
    MSR_PAT,
    MSR_PRED_CMD,
    MSR_SPEC_CTRL,
    MSR_TSC_AUX,
)
from kernel.x86.canonical import is_canonical
from kernel.x86.context import set_fs_base, set_gs_base_kernel, set_gs_base_user
from kernel.x86.cpu import rdmsr, rdtsc, wrmsr
from kernel.x86.features import GUEST_PAT, has_rdtscp
from kernel.x86.hypercall_page import fill_hypercall_page
from kernel.x86.memlayout import mfn_to_vaddr
from kernel.x86.percpu import this_cpu
from kernel.x86.predictors import (
    PRED_CMD_IBPB,
    empty_predictors,
    guest_arch_capabilities,
    guest_spec_ctrl,
    has_arch_capabilities,
    has_ibpb,
    load_spec_ctrl,
)

MSR_TSC = 0x10
MSR_PATCH_LEVEL = 0x8B
MSR_MCG_CAP = 0x179
MSR_MCG_STATUS = 0x17A
MSR_MISC_ENABLE = 0x1A0
MSR_XEN_HYPERCALL_PAGE = 0x40000000
MSR_HWCR = 0xC0010015
MSR_DE_CFG = 0xC0011029

APIC_BASE_ENABLED = 0xFEE00000 | 1 << 11
APIC_BASE_BSP = 1 << 8
MISC_ENABLE_FAST_STRING = 1 << 0
DE_CFG_LFENCE_SERIALIZE = 1 << 1


def read_msr(vcpu: Ptr[Vcpu], msr: Tainted[u32]) -> tuple[Tainted[u64], bool]:
    """Return an MSR as the running vCPU's kernel sees it; False: it has no such one."""
    if msr in (MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE, MSR_PATCH_LEVEL):
        return rdmsr(msr), True
    if msr == MSR_EFER:
        return rdmsr(msr) & ~EFER_AIBRSE, True
    if msr == MSR_TSC:
        return rdtsc(), True
    if msr == MSR_TSC_AUX:
        return u64(vcpu.tsc_aux), has_rdtscp
    if msr == MSR_APIC_BASE:
        return APIC_BASE_ENABLED | (APIC_BASE_BSP if vcpu.vcpu_id == 0 else 0), True
    if msr == MSR_PAT:
        return GUEST_PAT, True
    if msr == MSR_SPEC_CTRL:
        return vcpu.spec_ctrl, guest_spec_ctrl != 0
    if msr == MSR_ARCH_CAPABILITIES:
        return guest_arch_capabilities, has_arch_capabilities
    if msr == MSR_MISC_ENABLE:
        return MISC_ENABLE_FAST_STRING, True
    if msr == MSR_DE_CFG:
        return DE_CFG_LFENCE_SERIALIZE, True
    if msr in (MSR_MCG_CAP, MSR_MCG_STATUS, MSR_HWCR, MSR_XEN_HYPERCALL_PAGE):
        return 0, True
    return 0, False


def write_msr(vcpu: Ptr[Vcpu], msr: Tainted[u32], value: Tainted[u64]) -> bool:
    """Set an MSR of the running vCPU's kernel.

    False: it has none of that number, or not with that value.
    """
    if msr in (MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE):
        return write_base(vcpu, msr, value)
    if msr == MSR_TSC_AUX:
        return write_tsc_aux(vcpu, value)
    if msr == MSR_SPEC_CTRL:
        return write_spec_ctrl(vcpu, value)
    if msr == MSR_PRED_CMD:
        return write_pred_cmd(value)
    if msr == MSR_XEN_HYPERCALL_PAGE:
        return write_hypercall_page(vcpu, value)
    if msr in (MSR_MISC_ENABLE, MSR_HWCR, MSR_DE_CFG):
        return True
    current, exists = read_msr(vcpu, msr)
    return exists and current == value and msr != MSR_TSC


def write_base(vcpu: Ptr[Vcpu], msr: Tainted[u32], value: Tainted[u64]) -> bool:
    """Set a segment base."""
    if not is_canonical(value):
        return False
    if msr == MSR_FS_BASE:
        set_fs_base(vcpu, value)
    elif msr == MSR_GS_BASE:
        set_gs_base_kernel(vcpu, value)
    else:
        set_gs_base_user(vcpu, value)
    return True


def write_hypercall_page(vcpu: Ptr[Vcpu], value: Tainted[u64]) -> bool:
    """Fill a frame of the domain with hypercall stubs: the MSR that CPUID leaf 0x40000002 names."""
    mfn = Mfn(trusted(value) >> PAGE_SHIFT)  # get_frame_and_type takes any number
    if value & (PAGE_SIZE - 1) != 0 or not get_frame_and_type(mfn, vcpu.domain, PGT_writable_page):
        return False
    fill_hypercall_page(mfn_to_vaddr(mfn))
    put_frame_and_type(mfn)
    return True


def write_tsc_aux(vcpu: Ptr[Vcpu], value: Tainted[u64]) -> bool:
    """Set what rdtscp returns in ecx."""
    if value >> 32 != 0 or not has_rdtscp:
        return False
    vcpu.tsc_aux = truncate(u32, value)
    this_cpu().tsc_aux = vcpu.tsc_aux
    wrmsr(MSR_TSC_AUX, trusted(value))  # any 32 bits will do
    return True


def write_spec_ctrl(vcpu: Ptr[Vcpu], value: Tainted[u64]) -> bool:
    """Set the speculation controls that the guest wants for itself."""
    if guest_spec_ctrl == 0 or value & ~guest_spec_ctrl != 0:
        return False
    vcpu.spec_ctrl = trusted(value)  # bits that guests may set
    load_spec_ctrl(this_cpu(), vcpu.spec_ctrl)
    return True


def write_pred_cmd(value: Tainted[u64]) -> bool:
    """Empty the branch predictors, as a guest does between its processes."""
    if not has_ibpb or value & ~PRED_CMD_IBPB != 0:
        return False
    if value != 0:
        empty_predictors()
    return True
