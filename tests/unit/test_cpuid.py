"""The CPUID policy on a processor that has every feature, and the hypervisor's leaves."""

import pytest
from kpy import jit

from kernel.emulate import cpuid as policy
from kernel.state.vcpu import Vcpu

ALL = (1 << 32) - 1
OSXSAVE = 1 << 27


def full_processor(leaf, subleaf):
    """A processor whose every leaf is all ones."""
    return {"eax": ALL, "ebx": ALL, "ecx": ALL, "edx": ALL}


@pytest.fixture(scope="module")
def machine():
    program = jit.load(
        "kernel.emulate.cpuid", replace={"kernel.x86.features.cpuid": full_processor}
    )
    return program, program.new(Vcpu, vcpu_id=3)


def leaf(machine, number, subleaf=0):
    program, vcpu = machine
    answer = program.guest_cpuid(vcpu, number, subleaf)
    return answer.eax, answer.ebx, answer.ecx, answer.edx


def bits(*numbers):
    return sum(1 << number for number in numbers)


def test_signature(machine):
    eax, ebx, ecx, edx = leaf(machine, 0x40000000)
    text = b"".join(word.to_bytes(4, "little") for word in (ebx, ecx, edx))
    assert text == b"XenVMMXenVMM"
    assert eax >= 0x40000002


def test_version(machine):
    assert leaf(machine, 0x40000001)[0] == 4 << 16 | 17


def test_ring_3_features_only(machine):
    """What only ring 0 can use is hidden; what needs no privilege is not."""
    _, _, ecx, edx = leaf(machine, 1)
    assert edx & bits(1, 3, 7, 12, 13, 14, 17, 22) == 0  # VME PSE MCE MTRR PGE MCA PSE36 ACPI
    assert edx & bits(0, 4, 5, 6, 24, 25, 26) == bits(0, 4, 5, 6, 24, 25, 26)
    assert ecx & bits(3, 5, 17, 21, 24) == 0  # MONITOR VMX PCID X2APIC TSC_DEADLINE
    assert ecx & bits(31, 26, 28) == bits(31, 26, 28)  # HYPERVISOR XSAVE AVX
    _, ebx, ecx7, edx7 = leaf(machine, 7)
    assert ebx & bits(0, 7, 10, 20) == 0  # FSGSBASE SMEP INVPCID SMAP
    assert ecx7 & bits(2, 3, 5, 7, 16) == 0  # UMIP PKU WAITPKG CET LA57
    # Speculation controls: all but the flush of the L1 cache.
    assert edx7 & bits(10, 26, 27, 28, 29, 31) == bits(10, 26, 27, 29, 31)
    assert leaf(machine, 0x80000001)[3] & bits(26) == 0  # 1 GiB pages


def test_osxsave_follows_cr4(machine):
    program, vcpu = machine
    vcpu.cr4 = 0
    assert leaf(machine, 1)[2] & OSXSAVE == 0
    vcpu.cr4 = policy.CR4_OSXSAVE
    assert leaf(machine, 1)[2] & OSXSAVE


def test_apic_id(machine):
    assert leaf(machine, 1)[1] >> 24 == 6


@pytest.mark.parametrize("number", [0xE, 0x15, 0x1F, 0x40000100, 0x80000009, 0xFFFFFFFF])
def test_unknown_leaves_are_empty(machine, number):
    assert leaf(machine, number) == (0, 0, 0, 0)
