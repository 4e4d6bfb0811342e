"""Leaks by speculative execution: which of them this processor has, and what closes them.

A processor says which leaks it does not have; who says nothing is taken to have them. The measures
here are those that the processor offers for the asking: indirect branches restricted in ring 0
(`ibrs`), predictors emptied between domains (`ibpb`), buffers emptied on the way to ring 3
(`md-clear`). `spec-ctrl=` on the command line lists which of them to take, `spec-ctrl=no` takes
none; `md-clear` in that list is done even by a processor that does not claim to need it. What
stays open is said at boot; kernel/SPECULATION.md says what that means.

Source: Intel, "Speculative Execution Side Channel Mitigations" and SDM vol 4 (MSRs 48H, 49H, 10AH);
AMD APM vol 2 3.2.9 (speculation control), vol 3 appendix E (leaves 80000008H, 80000021H).
"""

from kpy import Ptr, Slice, bit, ref, static, truncate, u8, u32, u64, wrapping_sub

from kernel.base.cmdline import has_option, option_list_has
from kernel.console.console import printk
from kernel.x86 import boot_info, predictors
from kernel.x86.bits import MSR_ARCH_CAPABILITIES
from kernel.x86.cpu import rdmsr
from kernel.x86.features import cpuid, has_smep
from kernel.x86.paging import core_maddr
from kernel.x86.predictors import SPEC_CTRL_IBRS, SPEC_CTRL_SSBD, SPEC_CTRL_STIBP

# MSR_ARCH_CAPABILITIES: what a processor of Intel's says it does not leak, or how that is stopped.
RDCL_NO = 1 << 0  # neither Meltdown nor L1TF
IBRS_ALL = 1 << 1
RSBA = 1 << 2
SKIP_L1DFL_VMENTRY = 1 << 3
SSB_NO = 1 << 4
MDS_NO = 1 << 5
TAA_NO = 1 << 8
SBDR_SSDP_NO = 1 << 13
FBSDP_NO = 1 << 14
PSDP_NO = 1 << 15
FB_CLEAR = 1 << 17
BHI_NO = 1 << 20
PBRSB_NO = 1 << 24
GDS_NO = 1 << 26
RFDS_NO = 1 << 27
RFDS_CLEAR = 1 << 28
MMIO_NO = SBDR_SSDP_NO | FBSDP_NO | PSDP_NO
# What guests are told: whatever says how a leak stands.
GUEST_CAPABILITIES = (
    RDCL_NO
    | IBRS_ALL
    | RSBA
    | SKIP_L1DFL_VMENTRY
    | SSB_NO
    | MDS_NO
    | TAA_NO
    | MMIO_NO
    | FB_CLEAR
    | BHI_NO
    | PBRSB_NO
    | GDS_NO
    | RFDS_NO
    | RFDS_CLEAR
)

AMD_EBX = 0x68747541  # "Auth"
HYGON_EBX = 0x6F677948  # "Hygo"

JMP_REL32 = 0xE9
JMP_BYTES = 5

resume_guest = static(u8, extern=True, symbol="resume_guest")
resume_guest_clearing = static(u8, extern=True, symbol="resume_guest_clearing")

arch_capabilities = static(u64)
leaks_meltdown = static(bool)
leaks_buffers = static(bool)  # MDS and its kin
leaks_past_stores = static(bool)  # speculative store bypass
has_md_clear = static(bool)
has_automatic_ibrs = static(bool)
empties_buffers = static(bool)


def read_speculation() -> None:
    """Find out what the first processor leaks and offers, and choose measures. Context: boot."""
    vendor = cpuid(0, 0).ebx
    is_amd = vendor in (AMD_EBX, HYGON_EBX)
    read_controls(is_amd)
    read_leaks(is_amd)
    choose_measures()


def read_controls(is_amd: bool) -> None:
    """Note what the processor offers against leaks."""
    global arch_capabilities, has_md_clear, has_automatic_ibrs
    features = cpuid(7, 0).edx if cpuid(0, 0).eax >= 7 else 0
    highest = cpuid(0x80000000, 0).eax
    extended = cpuid(0x80000008, 0).ebx if highest >= 0x80000008 else 0
    has_md_clear = features & bit(10) != 0
    predictors.has_ibpb = features & bit(26) != 0 or extended & bit(12) != 0
    predictors.guest_spec_ctrl = spec_ctrl_bits(features)
    predictors.has_arch_capabilities = features & bit(29) != 0
    if predictors.has_arch_capabilities:
        arch_capabilities = rdmsr(MSR_ARCH_CAPABILITIES)
        predictors.guest_arch_capabilities = arch_capabilities & GUEST_CAPABILITIES
    if is_amd and highest >= 0x80000021:
        has_automatic_ibrs = cpuid(0x80000021, 0).eax & bit(8) != 0


def spec_ctrl_bits(features: u32) -> u64:
    """Return the bits of MSR_SPEC_CTRL that exist, by EDX of leaf 7."""
    if features & bit(26) == 0:
        return 0
    bits: u64 = SPEC_CTRL_IBRS
    if features & bit(27):
        bits |= SPEC_CTRL_STIBP
    if features & bit(31):
        bits |= SPEC_CTRL_SSBD
    return bits


def read_leaks(is_amd: bool) -> None:
    """Note which leaks the processor does not deny."""
    global leaks_meltdown, leaks_buffers, leaks_past_stores
    leaks_meltdown = not is_amd and arch_capabilities & RDCL_NO == 0
    has_rtm = cpuid(0, 0).eax >= 7 and cpuid(7, 0).ebx & bit(11) != 0
    buffers = MDS_NO | MMIO_NO | RFDS_NO | (TAA_NO if has_rtm else 0)
    leaks_buffers = not is_amd and arch_capabilities & buffers != buffers
    if is_amd:
        leaks_past_stores = (
            cpuid(0x80000000, 0).eax < 0x80000008 or cpuid(0x80000008, 0).ebx & bit(26) == 0
        )
    else:
        leaks_past_stores = arch_capabilities & SSB_NO == 0


def choose_measures() -> None:
    """Decide which measures are taken, by what there is and what the command line says."""
    global empties_buffers
    wants_ibrs = option_list_has(b"spec-ctrl", b"ibrs")
    if wants_ibrs and arch_capabilities & IBRS_ALL:
        predictors.core_spec_ctrl = SPEC_CTRL_IBRS
    predictors.uses_automatic_ibrs = has_automatic_ibrs and wants_ibrs
    predictors.empties_predictors = predictors.has_ibpb and option_list_has(b"spec-ctrl", b"ibpb")
    is_forced = has_option(b"spec-ctrl")
    empties_buffers = option_list_has(b"spec-ctrl", b"md-clear") and (
        is_forced or leaks_buffers and has_md_clear
    )


def empty_buffers_on_exit() -> None:
    """Let every way back to ring 3 empty the processor's buffers, if that was chosen.

    The first instructions of `resume_guest` become a jump to a copy of them behind a VERW
    (kernel/x86/entry.asm), so that a processor that leaks nothing pays nothing. Context: boot,
    before any guest runs and the other processors start.
    """
    if not empties_buffers:
        return
    start = u64(ref(resume_guest))
    distance = wrapping_sub(u64(ref(resume_guest_clearing)), start + JMP_BYTES)
    maddr = core_maddr(start)
    assert maddr is not None, "the core's text is mapped"
    code = Slice[u8](Ptr[u8](boot_info.phys_window + u64(maddr)), JMP_BYTES)
    code[0] = JMP_REL32
    for i in range(1, JMP_BYTES):
        code[i] = truncate(u8, distance >> (i - 1) * 8)


def report_speculation() -> None:
    """Say which leaks are closed, and which are open."""
    restricts = predictors.core_spec_ctrl != 0 or predictors.uses_automatic_ibrs
    keeps_branches = restricts and predictors.empties_predictors and has_smep
    printk(
        f"speculation: Spectre v2 {state(True, keeps_branches)}, "
        f"Meltdown and L1TF {state(leaks_meltdown, False)}, "
        f"MDS {state(leaks_buffers, empties_buffers)}, "
        f"store bypass {state(leaks_past_stores, False)}"
    )
    if leaks_meltdown:
        printk("speculation: any guest may be able to read all memory of this machine")


def state(leaks: bool, is_closed: bool) -> Slice[u8]:
    """Return how a leak stands, in a word."""
    if not leaks:
        return b"absent"
    return b"closed" if is_closed else b"OPEN"
