"""Traps and privileged instructions as a guest kernel meets them: the frames that the hypervisor
pushes, `int n`, single steps, breakpoints, what it emulates and what it refuses.

The checks describe real Xen 4.17, but for one: QEMU 7.2 reports `int n` wrongly, which Proxen sees
through (see `test_software_interrupts`).
"""

import abi
from kpy import Array, Ptr, export, extern, i64, load, ref, static, truncate, u8, u64

from libos.hypercall import hypercall, set_trap_table
from libos.start_info import boot
from libos.trap import init_traps
from tests.guests.kernels.report import check, expect, verdict
from tests.guests.kernels.trap_frames import NOTHING, VECTORS, seen

FLAG_TRAP = 1 << 8
KERNEL_CS_SEEN = 0xE030
DR6_STEP, DR6_BREAKPOINT_0 = 1 << 14, 1 << 0
DR7_WRITE_8_BYTES = 1 << 0 | 1 << 16 | 2 << 18
CR0_TS = 1 << 3
CR4_OSXSAVE = 1 << 18
MSR_FS_BASE, MSR_UNKNOWN = 0xC0000100, 0x12345
BAD_SELECTOR = 0x1000
PORT = 0x80
INT3 = 0xCC
PATTERN = 0x1234567890ABCDEF

experiment_entries = static(Array[u64, len(VECTORS)], extern=True, symbol="experiment_entries")
vectors = static(Array[u64, len(VECTORS)], list(VECTORS))
table = static(Array[abi.trap_info, len(VECTORS) + 1])
watched = static(u64)
fs_words = static(u64, PATTERN)
bytes_out = static(Array[u8, 200])


@extern
def try_int3() -> u64: ...


@extern
def try_ud2() -> u64: ...


@extern
def try_divide() -> u64: ...


@extern
def try_int_77() -> u64: ...


@extern
def try_int_78() -> u64: ...


@extern
def try_single_step() -> u64: ...


@extern
def try_step_emulated() -> u64: ...


@extern
def try_watchpoint(address: u64) -> u64: ...


@extern
def try_registers() -> u64: ...


@extern
def try_cli() -> u64: ...


@extern
def try_in(port: u64) -> u64: ...


@extern
def try_outs(address: u64, count: u64) -> u64: ...


@extern
def try_read_cr(number: u64) -> u64: ...


@extern
def try_osxsave() -> u64: ...


@extern
def try_clts() -> u64: ...


@extern
def try_rdmsr(number: u64) -> u64: ...


@extern
def try_wrmsr(number: u64, value: u64) -> u64: ...


@extern
def try_load_fs() -> u64: ...


@extern
def try_cpuid(leaf: u64) -> u64: ...


@extern
def try_xsetbv(value: u64) -> u64: ...


@extern
def try_fpu() -> u64: ...


@extern
def try_iret(rip: u64, cs: u64) -> u64: ...


@extern
def try_store(address: u64) -> u64: ...


def begin() -> None:
    """Forget the last trap."""
    seen.vector = NOTHING


def trapped(vector: u64) -> bool:
    """Whether exactly this trap came since `begin`."""
    return seen.vector == vector


def call(number: u64, a: u64, b: u64) -> i64:
    return hypercall(number, a, b, 0, 0, 0)


def set_debugreg(number: u64, value: u64) -> u64:
    return truncate(u64, hypercall(abi.__HYPERVISOR_set_debugreg, number, value, 0, 0, 0))


def get_debugreg(number: u64) -> u64:
    return truncate(u64, hypercall(abi.__HYPERVISOR_get_debugreg, number, 0, 0, 0, 0))


def register_handlers() -> None:
    """Register the experiments' handlers: the kernel may raise 0x77, nobody 0x78."""
    for i in range(len(VECTORS)):
        table[i].vector = u8(vectors[i])
        table[i].flags = 1 if vectors[i] == 0x77 else 0
        table[i].cs = abi.FLAT_KERNEL_CS
        table[i].address = experiment_entries[i]
    check(b"trap table", set_trap_table(u64(ref(table))) == 0)


def test_exceptions() -> None:
    begin()
    try_int3()
    check(b"int3 comes", trapped(3))
    check(b"int3: rcx and r11 are in the frame", seen.rcx == 0x1234 and seen.r11 == 0x5678)
    check(b"int3: cs has RPL 0", seen.cs & 0xFFFF == KERNEL_CS_SEEN)
    check(b"int3: rip is behind", load(Ptr[u8](seen.rip - 1)) == INT3)
    begin()
    try_ud2()
    check(b"ud2 comes", trapped(6))
    begin()
    try_divide()
    check(b"division by zero comes", trapped(0))
    begin()
    try_store(boot().pt_base)
    check(b"a write to a page table faults", trapped(14))
    check(b"page fault: a write by the kernel to a present page", seen.error_code == 3)
    check(b"page fault: cr2", try_read_cr(2) == boot().pt_base)


def test_software_interrupts() -> None:
    """`int n` reaches the handler where its DPL allows, else #GP names the gate."""
    begin()
    try_int_77()
    check(b"int 0x77 comes", trapped(0x77))
    begin()
    try_int_78()
    check(b"int 0x78 is refused", trapped(13))
    check(b"int 0x78: the error code names it", seen.error_code == 0x78 << 3 | 2)


def test_debug() -> None:
    begin()
    try_single_step()
    check(b"a single step traps", trapped(1))
    check(b"single step: dr6 says so", get_debugreg(6) & DR6_STEP != 0)
    check(b"single step: TF is in the frame", seen.rflags & FLAG_TRAP != 0)
    begin()
    try_step_emulated()
    check(b"an emulated instruction can be stepped", trapped(1))
    check(b"breakpoint address", set_debugreg(0, u64(ref(watched))) == 0)
    check(b"breakpoint on", set_debugreg(7, DR7_WRITE_8_BYTES) == 0)
    check(b"dr6 cleared", set_debugreg(6, 0) == 0)
    begin()
    try_watchpoint(u64(ref(watched)))
    check(b"a write to a watched word traps", trapped(1))
    check(b"watchpoint: dr6 says which", get_debugreg(6) & DR6_BREAKPOINT_0 != 0)
    check(b"watchpoint: the write was done", watched == u64(ref(watched)))
    check(b"breakpoint off", set_debugreg(7, 0) == 0)
    begin()
    try_watchpoint(u64(ref(watched)))
    check(b"no breakpoint, no trap", trapped(NOTHING))


def test_ports() -> None:
    begin()
    try_cli()
    check(b"cli needs an I/O privilege level", trapped(13))
    begin()
    try_in(PORT)
    check(b"so does in", trapped(13))
    level = abi.physdev_set_iopl(iopl=1)
    set_iopl = hypercall(
        abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, u64(ref(level)), 0, 0, 0
    )
    check(b"the level can be set", set_iopl == 0)
    begin()
    check(b"cli and sti pass now", try_cli() == 1)
    check(b"in changes al only", try_in(PORT) | 0xFF == (1 << 64) - 1)
    start = u64(ref(bytes_out))
    check(b"rep outsb sends all", try_outs(start, len(bytes_out)) == start + len(bytes_out))
    check(b"ports trap no more", trapped(NOTHING))


def test_registers() -> None:
    begin()
    check(b"emulation keeps registers and flags", try_registers() == 0x1FFFF)
    check(b"cr0 has protection, paging", try_read_cr(0) & 0x80000001 == 0x80000001)
    check(b"cr0 has no TS", try_read_cr(0) & CR0_TS == 0)
    check(b"cr3 is a frame", try_read_cr(3) & 0xFFF == 0 and try_read_cr(3) != 0)
    check(b"clts passes", try_clts() == 1)
    start = u64(ref(fs_words))
    check(b"wrmsr sets the fs base", try_wrmsr(MSR_FS_BASE, start) == 1)
    check(b"rdmsr reads it", try_rdmsr(MSR_FS_BASE) == start)
    check(b"fs uses it", try_load_fs() == PATTERN)
    check(b"nothing of that trapped", trapped(NOTHING))
    try_rdmsr(MSR_UNKNOWN)
    check(b"an unknown MSR can't be read", trapped(13))
    begin()
    try_wrmsr(MSR_UNKNOWN, 0)
    check(b"nor written", trapped(13) and seen.error_code == 0)
    begin()
    check(b"cpuid names Xen", try_cpuid(0x40000000) == 0x566E6558)
    check(b"cpuid traps nowhere", trapped(NOTHING))


def test_fpu() -> None:
    begin()
    check(b"cr4 takes OSXSAVE", try_osxsave() & CR4_OSXSAVE != 0)
    check(b"xsetbv sets what xgetbv reads", try_xsetbv(3) == 3)
    check(b"xsetbv passes", trapped(NOTHING))
    try_xsetbv(0)
    check(b"xcr0 without x87 is refused", trapped(13))
    begin()
    check(b"TS on", hypercall(abi.__HYPERVISOR_fpu_taskswitch, 1, 0, 0, 0, 0) == 0)
    check(b"cr0 shows TS", try_read_cr(0) & CR0_TS != 0)
    try_fpu()
    check(b"with TS, the FPU raises #NM", trapped(7))
    begin()
    check(b"once", try_fpu() == 1 and trapped(NOTHING))


def test_iret() -> None:
    begin()
    try_iret(u64(ref(experiment_entries)), BAD_SELECTOR)
    check(b"an iret to a bad selector faults", trapped(13) and seen.error_code == BAD_SELECTOR)
    check(b"it faults in the frame that failed", seen.cs & 0xFFFF == BAD_SELECTOR)
    check(b"with its rip", seen.rip == u64(ref(experiment_entries)))


def test_errors() -> None:
    """Wrong arguments of the calls about traps, debug registers, ports and the machine."""
    debug = abi.__HYPERVISOR_set_debugreg
    core = abi.HYPERVISOR_VIRT_START
    expect(b"breakpoint in the hypervisor", call(debug, 0, core), -abi.EPERM)
    expect(b"breakpoint not canonical", call(debug, 1, 1 << 47), -abi.EPERM)
    expect(b"I/O breakpoint", call(debug, 7, 1 | 2 << 16), -abi.EPERM)
    expect(b"upper half of dr6", call(debug, 6, 1 << 32), -abi.EINVAL)
    expect(b"debug register 9", call(abi.__HYPERVISOR_get_debugreg, 9, 0), -abi.ENODEV)
    level = abi.physdev_set_iopl(iopl=4)
    physdev = abi.__HYPERVISOR_physdev_op
    result = call(physdev, abi.PHYSDEVOP_set_iopl, u64(ref(level)))
    expect(b"I/O privilege level 4", result, -abi.EINVAL)
    expect(b"level, unmapped", call(physdev, abi.PHYSDEVOP_set_iopl, 8), -abi.EFAULT)
    nmi = abi.__HYPERVISOR_nmi_op
    expect(b"nmi_op, unknown", call(nmi, 9, 0), -abi.ENOSYS)
    expect(b"nmi_op, unmapped", call(nmi, abi.XENNMI_register_callback, 8), -abi.EFAULT)
    callback = abi.callback_register(type=abi.CALLBACKTYPE_event, address=1 << 47)
    register = u64(ref(callback))
    result = call(abi.__HYPERVISOR_callback_op, abi.CALLBACKOP_register, register)
    expect(b"callback not canonical", result, -abi.EINVAL)
    test_platform_errors()


def test_platform_errors() -> None:
    platform = abi.__HYPERVISOR_platform_op
    expect(b"platform_op, unmapped", call(platform, 8, 0), -abi.EFAULT)
    op = abi.xen_platform_op(cmd=abi.XENPF_settime64, interface_version=1)
    here = u64(ref(op))
    expect(b"platform_op, version", call(platform, here, 0), -abi.EACCES)
    op.interface_version = abi.XENPF_INTERFACE_VERSION
    op.u.settime64.mbz = 1
    expect(b"settime64, not zero", call(platform, here, 0), -abi.EINVAL)
    op.cmd = 9999
    expect(b"platform_op, unknown", call(platform, here, 0), -abi.ENOSYS)
    op.cmd = abi.XENPF_firmware_info
    op.u.firmware_info.type = 77
    expect(b"firmware_info, unknown", call(platform, here, 0), -abi.EINVAL)


@export
def main() -> u64:
    register_handlers()
    test_exceptions()
    test_software_interrupts()
    test_debug()
    test_ports()
    test_registers()
    test_fpu()
    test_iret()
    init_traps()
    test_errors()
    return verdict()
