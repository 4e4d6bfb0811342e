"""What privileged instructions cost, which the hypervisor emulates for a kernel in ring 3."""

import abi
from kpy import Array, asm, ref, static, u64

from libos.bench.measure import Row
from libos.bench.rows import Rows
from libos.hypercall import hypercall

MSR_FS_BASE = 0xC0000100
KERNEL_IOPL = 1

rows = Rows()
iopl = static(abi.physdev_set_iopl)


def prepare() -> None:
    set_iopl()


@asm('ud2\n.ascii "xen"\ncpuid', "~{eax},~{ebx},~{ecx},~{edx}", sideeffect=True)
def forced_cpuid() -> None: ...


@asm("cpuid", "~{eax},~{ebx},~{ecx},~{edx}", sideeffect=True)
def native_cpuid() -> None: ...


@asm("mov rax, cr3", "~{rax}", sideeffect=True)
def read_cr3() -> None: ...


@asm("mov rax, cr0", "~{rax}", sideeffect=True)
def read_cr0() -> None: ...


@asm("clts", "", sideeffect=True)
def clear_ts() -> None: ...


@asm(f"mov ecx, {MSR_FS_BASE}\nrdmsr", "~{rax},~{rcx},~{rdx}", sideeffect=True)
def rdmsr() -> None: ...


@asm(
    f"mov ecx, {MSR_FS_BASE}\nxor eax, eax\nxor edx, edx\nwrmsr",
    "~{rax},~{rcx},~{rdx}",
    sideeffect=True,
)
def wrmsr() -> None: ...


@asm("out 0x80, al", "", sideeffect=True)
def outb_80() -> None: ...


@rows.row("cpuid_emulated")
def row_cpuid() -> None:
    forced_cpuid()


@rows.row("cpuid_native_insn")
def row_native_cpuid() -> None:
    native_cpuid()


@rows.row("read_cr3_emulated")
def row_cr3() -> None:
    read_cr3()


@rows.row("read_cr0_emulated")
def row_cr0() -> None:
    read_cr0()


@rows.row("clts_emulated")
def row_clts() -> None:
    clear_ts()


@rows.row("rdmsr_fsbase_emulated")
def row_rdmsr() -> None:
    rdmsr()


@rows.row("wrmsr_fsbase_emulated")
def row_wrmsr() -> None:
    wrmsr()


@rows.row("physdev_set_iopl")
def set_iopl() -> None:
    iopl.iopl = KERNEL_IOPL
    hypercall(abi.__HYPERVISOR_physdev_op, abi.PHYSDEVOP_set_iopl, u64(ref(iopl)), 0, 0, 0)


@rows.row("outb_0x80")
def row_out() -> None:
    outb_80()


table = static(Array[Row, len(rows)], rows)
