"""CPUID as PV guests see it: the processor's own, less what ring 3 cannot have, plus the
hypervisor's leaves.

A guest kernel asks through forced emulation. Guest user code executes CPUID itself and sees the
bare processor, as it does on Xen without CPUID faulting: the kernel's view decides what is used.
Feature words are masked by what is *allowed*, so a new processor's features stay hidden until
somebody has thought about them.
"""

from kpy import Ptr, Tainted, build_time, i64, inline, noinline, ref, truncate, trusted, u32, u64

from kernel.state.vcpu import Vcpu
from kernel.x86.bits import CR4_OSXSAVE
from kernel.x86.cpu import CpuidResult
from kernel.x86.features import cpuid
from kernel.x86.fpu import xcr0_mask
from kernel.x86.tsc import tsc_khz, tsc_shift, tsc_to_system_mul

XEN_LEAF = 0x40000000
XEN_LEAF_MAX = 0x40000005
XEN_SIGNATURE = (0x566E6558, 0x65584D4D, 0x4D4D566E)  # "XenVMMXenVMM"
XEN_VERSION = 4 << 16 | 17
XEN_FEATURE_PRESERVE_AD = 1 << 0
MACHINE_ADDRESS_BITS = 46
HOST_TSC_RELIABLE = 1 << 1


@build_time
def bits(*numbers):
    """Return a word with these bits set."""
    return sum(1 << number for number in numbers)


# Allowed bits. Not allowed: VME, PSE, MTRR, PGE, PSE-36 (ring 3 can't), MCE and MCA (the core's),
# DS, ACPI, HTT, TM, PBE.
LEAF_1_EDX = bits(0, 2, 4, 5, 6, 8, 11, 15, 16, 19, 23, 24, 25, 26, 27) | bits(9)
# Not allowed: DTES64, MONITOR, DS-CPL, VMX, SMX, EST, TM2, PDCM, PCID, DCA, x2APIC, TSC deadline.
LEAF_1_ECX = bits(0, 1, 9, 12, 13, 19, 20, 22, 23, 25, 26, 28, 29, 30)
# Not allowed: FSGSBASE, TSC_ADJUST, SGX, HLE, SMEP, INVPCID, RTM, PQM, MPX, PQE, SMAP, PT.
LEAF_7_EBX = bits(3, 5, 8, 9, 13, 16, 17, 18, 19, 21, 23, 24, 28, 29, 30, 31)
# Not allowed: UMIP, PKU, OSPKE, WAITPKG, CET, LA57, bus lock detect, ENQCMD, SGX_LC, PKS.
LEAF_7_ECX = bits(1, 6, 8, 9, 10, 11, 12, 14, 22, 25, 27, 28)
# Allowed: AVX512 4VNNIW, 4FMAPS, fast short rep mov, VP2INTERSECT, SERIALIZE; of the speculation
# controls all but the flush of the L1 cache (kernel/x86/predictors.py).
LEAF_7_EDX = bits(2, 3, 4, 8, 10, 14, 26, 27, 29, 31)
LEAF_7_1_EAX = bits(4, 5, 10, 11, 12)
XSAVE_FEATURES = bits(0, 1, 2)  # XSAVEOPT, XSAVEC, XGETBV1; XSAVES needs ring 0
# Not allowed: EXTAPIC, SVM, CR8 legacy, OSVW, IBS, SKINIT, WDT, LWP, topology and performance
# extensions, MWAITX.
EXTENDED_1_ECX = bits(0, 5, 6, 7, 8, 11, 16, 21)
# Not allowed: what leaf 1 hides, MP, 1 GiB pages.
EXTENDED_1_EDX = bits(0, 2, 4, 5, 6, 8, 9, 11, 15, 20, 22, 23, 24, 25, 27, 29, 30, 31)
EXTENDED_7_EDX = bits(8)  # invariant TSC
EXTENDED_8_EBX = bits(0, 2, 9, 12)  # CLZERO, saved FPU error pointers, WBNOINVD, IBPB

OSXSAVE = 1 << 27
HYPERVISOR = 1 << 31
CLFLUSH_LINES = 0x0000FF00
LEGACY_XSAVE_BYTES = 576
LAST_BASIC_LEAF = 0xD
LAST_EXTENDED_LEAF = 0x80000008


@noinline
def emulate_cpuid(vcpu: Ptr[Vcpu]) -> None:
    """Execute CPUID for the guest, its registers in and out."""
    regs = ref(vcpu.regs)
    answer = guest_cpuid(vcpu, truncate(u32, regs.rax), truncate(u32, regs.rcx))
    regs.rax = u64(answer.eax)
    regs.rbx = u64(answer.ebx)
    regs.rcx = u64(answer.ecx)
    regs.rdx = u64(answer.edx)


def guest_cpuid(vcpu: Ptr[Vcpu], leaf: Tainted[u32], subleaf: Tainted[u32]) -> CpuidResult:
    """Return a leaf as a vCPU sees it."""
    if XEN_LEAF <= leaf < XEN_LEAF + 0x100:
        return hypervisor_leaf(leaf, subleaf)
    answer = policy_cpuid(leaf, subleaf)
    if leaf == 1:
        answer.ebx = answer.ebx & CLFLUSH_LINES | (vcpu.vcpu_id << 1) << 24
        if vcpu.cr4 & CR4_OSXSAVE:
            answer.ecx |= OSXSAVE
    return answer


def policy_cpuid(leaf: Tainted[u32], subleaf: Tainted[u32]) -> CpuidResult:
    """Return a leaf of the policy that every PV domain has."""
    nothing = CpuidResult()
    if leaf <= LAST_BASIC_LEAF:
        return basic_leaf(leaf, subleaf)
    if 0x80000000 <= leaf <= LAST_EXTENDED_LEAF:
        return extended_leaf(leaf)
    return nothing


def basic_leaf(leaf: u32, subleaf: Tainted[u32]) -> CpuidResult:
    """Return one of the leaves from 0 on."""
    answer = cpuid(leaf, trusted(subleaf))  # the processor answers any
    match leaf:
        case 0:
            answer.eax = min(answer.eax, LAST_BASIC_LEAF)
        case 1:
            answer.ecx = answer.ecx & LEAF_1_ECX | HYPERVISOR
            answer.edx &= LEAF_1_EDX
        case 2 | 4:
            pass
        case 7:
            mask_leaf_7(ref(answer), subleaf)
        case 0xD:
            mask_leaf_d(ref(answer), subleaf)
        case _:
            return CpuidResult()
    return answer


def mask_leaf_7(answer: Ptr[CpuidResult], subleaf: Tainted[u32]) -> None:
    """Mask the structured extended features; only subleaves 0 and 1 are known."""
    match subleaf:
        case 0:
            answer.eax = min(answer.eax, 1)
            answer.ebx &= LEAF_7_EBX
            answer.ecx &= LEAF_7_ECX
            answer.edx &= LEAF_7_EDX
        case 1:
            answer.eax &= LEAF_7_1_EAX
            answer.ebx = 0
            answer.ecx = 0
            answer.edx = 0
        case _:
            zero_answer(answer)


def mask_leaf_d(answer: Ptr[CpuidResult], subleaf: Tainted[u32]) -> None:
    """Show the XSAVE components that the core saves and restores, none of them supervisor state."""
    if subleaf == 0:
        answer.eax &= truncate(u32, xcr0_mask)
        answer.edx &= truncate(u32, xcr0_mask >> 32)
        answer.ecx = xsave_area_bytes()
    elif subleaf == 1:
        answer.eax &= XSAVE_FEATURES
        answer.ecx = 0
        answer.edx = 0
    elif subleaf >= 63 or xcr0_mask >> u64(subleaf) & 1 == 0:
        zero_answer(answer)


def xsave_area_bytes() -> u32:
    """Return how long an XSAVE area with all components that guests may use is."""
    size: u32 = LEGACY_XSAVE_BYTES
    for i in range(u32(2), u32(63)):
        if xcr0_mask >> u64(i) & 1 != 0:
            component = cpuid(0xD, i)
            size = max(size, component.ebx + component.eax)
    return size


def extended_leaf(leaf: u32) -> CpuidResult:
    """Return one of the leaves from 0x80000000 on."""
    answer = cpuid(leaf, 0)
    match leaf:
        case 0x80000000:
            answer.eax = min(answer.eax, LAST_EXTENDED_LEAF)
        case 0x80000001:
            answer.ecx &= EXTENDED_1_ECX
            answer.edx &= EXTENDED_1_EDX
        case 0x80000007:
            zero_answer(ref(answer))
            answer.edx = cpuid(leaf, 0).edx & EXTENDED_7_EDX
        case 0x80000008:
            answer.ebx &= EXTENDED_8_EBX
            answer.ecx = 0
            answer.edx = 0
        case _:
            pass
    return answer


def hypervisor_leaf(leaf: u32, subleaf: Tainted[u32]) -> CpuidResult:
    """Return one of the leaves that name the hypervisor.

    Source: Xen public ABI, arch-x86/cpuid.h.
    """
    answer = CpuidResult()
    match leaf - XEN_LEAF:
        case 0:
            return CpuidResult(
                eax=XEN_LEAF_MAX, ebx=XEN_SIGNATURE[0], ecx=XEN_SIGNATURE[1], edx=XEN_SIGNATURE[2]
            )
        case 1:
            answer.eax = XEN_VERSION
        case 2:
            answer.eax = 1  # hypercall page, by this MSR
            answer.ebx = XEN_LEAF
            answer.ecx = XEN_FEATURE_PRESERVE_AD
        case 3:
            return time_leaf(subleaf)
        case 5:
            answer.ebx = MACHINE_ADDRESS_BITS
        case _:
            pass
    return answer


def time_leaf(subleaf: Tainted[u32]) -> CpuidResult:
    """Return how the guest's TSC relates to time: never emulated, no offset."""
    khz = truncate(u32, tsc_khz)
    match subleaf:
        case 0:
            return CpuidResult(eax=HOST_TSC_RELIABLE, ecx=khz)
        case 1:
            return CpuidResult(ecx=tsc_to_system_mul, edx=u32_of_shift())
        case 2:
            return CpuidResult(eax=khz)
        case _:
            return CpuidResult()


@inline
def u32_of_shift() -> u32:
    """Return the shift of the TSC's scale, sign-extended."""
    return truncate(u32, i64(tsc_shift))


@inline
def zero_answer(answer: Ptr[CpuidResult]) -> None:
    """Say nothing."""
    answer.eax = 0
    answer.ebx = 0
    answer.ecx = 0
    answer.edx = 0
