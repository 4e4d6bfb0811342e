"""Exceptions of the guest kernel, what their frames say, and the privileged instructions that the
hypervisor carries out for it. The experiments are those of tests/guests/kernels/traps.asm.
"""

import abi
from kpy import Array, Fn, Slice, extern, ref, static, struct, u8, u64

from libos.console import say
from libos.hypercall import hypercall, set_trap_table
from libos.start_info import boot
from libos.trap import init_traps
from tests.guests.kernels.probes import transcript
from tests.guests.kernels.probes.ground import CORE_ADDRESS, NONCANONICAL, WILD_ADDRESS
from tests.guests.kernels.probes.transcript import fact, fact_each, truth
from tests.guests.kernels.trap_frames import NOTHING, VECTORS, seen

SELECTOR_BITS = 0xFFFF
RFLAGS_SEEN = 0x3F7F00 & ~(1 << 16)  # not the arithmetic ones, nor RF
EVENT_MASK_SHIFT = 32  # of the saved mask, in the word of cs
BAD_SELECTOR = 0x1000
IOPL_KERNEL = 1
CR0_KEPT, CR4_KEPT = 0xE005_003F, 0x0000_07FF
XCR0_X87_SSE = 3

experiment_entries = static(Array[u64, len(VECTORS)], extern=True, symbol="experiment_entries")
vectors = static(Array[u64, len(VECTORS)], list(VECTORS))
table = static(Array[abi.trap_info, len(VECTORS) + 1])
iopl = static(abi.physdev_set_iopl)


@extern
def try_int3() -> u64: ...


@extern
def try_ud2() -> u64: ...


@extern
def try_divide() -> u64: ...


@extern
def try_int_77() -> u64: ...


@extern
def try_single_step() -> u64: ...


@extern
def try_step_emulated() -> u64: ...


@extern
def try_cli() -> u64: ...


@extern
def try_clts() -> u64: ...


@extern
def try_osxsave() -> u64: ...


@extern
def try_fpu() -> u64: ...


@extern
def try_in(port: u64) -> u64: ...


@extern
def try_read_cr(number: u64) -> u64: ...


@extern
def try_rdmsr(number: u64) -> u64: ...


@extern
def try_wrmsr(number: u64, value: u64) -> u64: ...


@extern
def try_cpuid(leaf: u64) -> u64: ...


@extern
def try_xsetbv(value: u64) -> u64: ...


@extern
def try_iret(rip: u64, cs: u64) -> u64: ...


@extern
def try_store(address: u64) -> u64: ...


@struct
class Experiment:
    name: Slice[u8]
    run: Fn[[], u64]


EXPERIMENTS = [
    {"name": b"int3", "run": try_int3},
    {"name": b"ud2", "run": try_ud2},
    {"name": b"division by zero", "run": try_divide},
    {"name": b"single step", "run": try_single_step},
    {"name": b"single step of an emulated instruction", "run": try_step_emulated},
    {"name": b"cli without IOPL", "run": try_cli},
    {"name": b"clts", "run": try_clts},
    {"name": b"fninit", "run": try_fpu},
]
experiments = static(Array[Experiment, len(EXPERIMENTS)], EXPERIMENTS)

MSRS = [
    0x10,  # TSC
    0x17,  # PLATFORM_ID
    0x1B,  # APIC_BASE
    0x48,  # SPEC_CTRL
    0x49,  # PRED_CMD
    0x8B,  # microcode revision
    0xCE,  # PLATFORM_INFO
    0xFE,  # MTRRcap
    0x10A,  # ARCH_CAPABILITIES
    0x140,  # MISC_FEATURES_ENABLES
    0x174,  # SYSENTER_CS
    0x179,  # MCG_CAP
    0x1A0,  # MISC_ENABLE
    0x1D9,  # DEBUGCTL
    0x277,  # PAT
    0x2FF,  # MTRR default
    0x802,  # x2APIC id
    0x4000_0000,  # Hyper-V's, Xen's hypercall page
    0xC000_0080,  # EFER
    0xC000_0081,  # STAR
    0xC000_0082,  # LSTAR
    0xC000_0100,  # FS_BASE
    0xC000_0101,  # GS_BASE
    0xC000_0102,  # KERNEL_GS_BASE
    0xC000_0103,  # TSC_AUX
    0xC001_0010,  # SYSCFG
    0xC001_0015,  # HWCR
    0xC001_1022,  # DC_CFG
]
msrs = static(Array[u64, len(MSRS)], MSRS)
PORTS = [0x20, 0x21, 0x40, 0x42, 0x61, 0x70, 0x71, 0x80, 0xA0, 0x3F8, 0xCF8, 0xCFC, 0x1234]
ports = static(Array[u64, len(PORTS)], PORTS)


def ask_exceptions() -> None:
    register_handlers()
    for experiment in experiments:
        begin()
        experiment.run()
        tell_trap(experiment.name)
    ask_page_faults()
    ask_control_registers()
    ask_model_registers()
    ask_ports()
    ask_returns()
    init_traps()


def register_handlers() -> None:
    for i in range(len(VECTORS)):
        table[i].vector = u8(vectors[i])
        table[i].flags = 0
        table[i].cs = abi.FLAT_KERNEL_CS
        table[i].address = experiment_entries[i]
    assert set_trap_table(u64(ref(table))) == 0


def begin() -> None:
    """Forget the last trap."""
    seen.vector = NOTHING
    seen.error_code = 0


def tell_trap(name: Slice[u8]) -> None:
    """Print which trap an experiment met, and what its frame said."""
    fact2(b"trap", name, b"vector", seen.vector)
    if seen.vector != NOTHING:
        fact2(b"trap", name, b"error code", seen.error_code)
        fact2(b"trap", name, b"cs", seen.cs & SELECTOR_BITS)
        fact2(b"trap", name, b"saved event mask", seen.cs >> EVENT_MASK_SHIFT & 0xFF)
        fact2(b"trap", name, b"ss", seen.ss & SELECTOR_BITS)
        fact2(b"trap", name, b"rflags", seen.rflags & RFLAGS_SEEN)


def fact2(first: Slice[u8], second: Slice[u8], third: Slice[u8], value: u64) -> None:
    """Print a number under a name of several parts."""
    transcript.nr_lines += 1
    say(f"= {first} {second}, {third}: {value:#x}")


def ask_page_faults() -> None:
    begin()
    try_store(boot().pt_base)
    tell_trap(b"a write to a page table")
    begin()
    try_store(WILD_ADDRESS)
    tell_trap(b"a write to nothing")
    truth(b"trap a write to nothing, cr2", try_read_cr(2) == WILD_ADDRESS)
    begin()
    try_store(CORE_ADDRESS)
    tell_trap(b"a write to the core")
    begin()
    try_store(abi.MACH2PHYS_VIRT_START)
    tell_trap(b"a write to the machine-to-physical table")
    begin()
    try_store(NONCANONICAL)
    tell_trap(b"a write to no address")


def ask_control_registers() -> None:
    begin()
    fact(b"mov from cr0", try_read_cr(0) & CR0_KEPT)
    truth(b"mov from cr3 is a frame", try_read_cr(3) & 0xFFF == 0 and try_read_cr(3) != 0)
    fact(b"mov from cr4", try_read_cr(4) & CR4_KEPT)
    truth(b"mov to cr4 sets OSXSAVE", try_osxsave() & 1 << 18 != 0)
    fact(b"xsetbv x87 and SSE", try_xsetbv(XCR0_X87_SSE))
    begin()
    try_xsetbv(2)
    tell_trap(b"xsetbv without x87")
    begin()
    hypercall(abi.__HYPERVISOR_fpu_taskswitch, 1, 0, 0, 0, 0)
    try_fpu()
    tell_trap(b"an FPU instruction with TS")
    begin()
    try_fpu()
    tell_trap(b"the next FPU instruction")
    for leaf in range(3):
        if leaf != 2:
            fact_each(
                b"cpuid ebx of leaf", 0x4000_0000 + u64(leaf), try_cpuid(0x4000_0000 + u64(leaf))
            )


def ask_model_registers() -> None:
    for number in msrs:
        begin()
        try_rdmsr(number)
        fact_each(b"rdmsr trap", number, seen.vector)
        begin()
        try_wrmsr(number, 0)
        fact_each(b"wrmsr 0 trap", number, seen.vector)
    begin()
    try_wrmsr(0xC000_0100, NONCANONICAL)
    tell_trap(b"wrmsr of a base that is not canonical")
    try_wrmsr(0xC000_0100, 0)


def ask_ports() -> None:
    for port in ports:
        begin()
        try_in(port)
        fact_each(b"in without IOPL, trap", port, seen.vector)
    iopl.iopl = IOPL_KERNEL
    hypercall(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, u64(ref(iopl)), 0, 0, 0)
    for port in ports:
        begin()
        try_in(port)
        fact_each(b"in with IOPL, trap", port, seen.vector)
    begin()
    try_cli()
    tell_trap(b"cli with IOPL")
    iopl.iopl = 0
    hypercall(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, u64(ref(iopl)), 0, 0, 0)


def ask_returns() -> None:
    begin()
    try_iret(experiment_entries[0], BAD_SELECTOR)
    tell_trap(b"iret to a bad selector")
    begin()
    try_iret(NONCANONICAL, abi.FLAT_KERNEL_CS & ~3)
    tell_trap(b"iret to no address")
