"""What this processor can do, and the control registers set up accordingly.

All processors of a machine are taken to be alike; the first one decides.
"""

from kpy import bit, panic, ref, static, u32, u64

from kernel.x86.bits import (
    CR0_TS,
    CR4_DE,
    CR4_MCE,
    CR4_OSFXSR,
    CR4_OSXMMEXCPT,
    CR4_OSXSAVE,
    CR4_PAE,
    CR4_PGE,
    CR4_SMEP,
    EFER_NXE,
    EFER_SCE,
    MSR_EFER,
    MSR_PAT,
)
from kernel.x86.cpu import CpuidResult, cpuid_into, rdmsr, read_cr0, write_cr0, write_cr4, wrmsr

GUEST_PAT = 0x0000050100070406  # WB, WT, UC-, UC, WC, WP: what the PV ABI's guests count on

has_1gib_pages = static(bool)
has_x2apic = static(bool)
has_tsc_deadline = static(bool)
has_xsave = static(bool)
has_xsaveopt = static(bool)
has_invariant_tsc = static(bool)
has_rdtscp = static(bool)
has_smep = static(bool)
max_physical_bits = static(u32, 36)
core_cr4 = static(u64)  # what every processor runs with, less what guests may change


def cpuid(leaf: u32, subleaf: u32) -> CpuidResult:
    """Return what CPUID says about a leaf."""
    result = CpuidResult()
    cpuid_into(leaf, subleaf, ref(result))
    return result


def read_features() -> None:
    """Find out what the processor can do; a processor without NX or syscall is refused."""
    global has_1gib_pages, has_x2apic, has_tsc_deadline, has_xsave, has_xsaveopt
    global has_invariant_tsc, has_rdtscp, has_smep, max_physical_bits
    basic = cpuid(1, 0)
    extended = cpuid(0x80000001, 0)
    if extended.edx & bit(20) == 0 or extended.edx & bit(11) == 0:
        panic("the processor has no NX or no syscall")
    has_1gib_pages = extended.edx & bit(26) != 0
    has_rdtscp = extended.edx & bit(27) != 0
    has_x2apic = basic.ecx & bit(21) != 0
    has_tsc_deadline = basic.ecx & bit(24) != 0
    has_xsave = basic.ecx & bit(26) != 0
    if has_xsave:
        has_xsaveopt = cpuid(0xD, 1).eax & bit(0) != 0
    if cpuid(0, 0).eax >= 7:
        has_smep = cpuid(7, 0).ebx & bit(7) != 0
    highest = cpuid(0x80000000, 0).eax
    if highest >= 0x80000007:
        has_invariant_tsc = cpuid(0x80000007, 0).edx & bit(8) != 0
    if highest >= 0x80000008:
        max_physical_bits = cpuid(0x80000008, 0).eax & 0xFF


def set_control_registers() -> None:
    """Bring this processor's control registers and page attributes into the state the core counts
    on.

    CR4.FSGSBASE, .SMAP, .UMIP and .PKE stay off: guests in ring 3 are not told of them.
    """
    global core_cr4
    cr4: u64 = CR4_PAE | CR4_PGE | CR4_DE | CR4_MCE | CR4_OSFXSR | CR4_OSXMMEXCPT
    if has_xsave:
        cr4 |= CR4_OSXSAVE
    if has_smep:
        cr4 |= CR4_SMEP
    core_cr4 = cr4
    write_cr4(cr4)
    write_cr0(read_cr0() & ~CR0_TS)
    wrmsr(MSR_EFER, rdmsr(MSR_EFER) | EFER_SCE | EFER_NXE)
    wrmsr(MSR_PAT, GUEST_PAT)
