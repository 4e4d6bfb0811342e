"""Registers as text, the same way for the core's own and for a guest's."""

import abi
from kpy import Ptr, Tainted, cold, u64

from kernel.console.console import printk
from kernel.x86.bits import MSR_FS_BASE, MSR_GS_BASE, MSR_KERNEL_GS_BASE
from kernel.x86.cpu import rdmsr, read_cr0, read_cr2, read_cr3, read_cr4


@cold
def print_registers(r: Ptr[Tainted[abi.cpu_user_regs]]) -> None:
    """Print a register frame."""
    printk(f"rip {u64(r.cs):04x}:{r.rip:016x} rflags {r.rflags:016x} error {r.error_code:08x}")
    printk(f"rax {r.rax:016x} rbx {r.rbx:016x} rcx {r.rcx:016x}")
    printk(f"rdx {r.rdx:016x} rsi {r.rsi:016x} rdi {r.rdi:016x}")
    printk(f"rbp {r.rbp:016x} rsp {u64(r.ss):04x}:{r.rsp:016x}")
    printk(f"r8  {r.r8:016x} r9  {r.r9:016x} r10 {r.r10:016x}")
    printk(f"r11 {r.r11:016x} r12 {r.r12:016x} r13 {r.r13:016x}")
    printk(f"r14 {r.r14:016x} r15 {r.r15:016x}")


@cold
def print_control_registers() -> None:
    """Print what this processor's control registers and segment bases are right now."""
    printk(f"cr0 {read_cr0():016x} cr2 {read_cr2():016x} cr3 {read_cr3():016x}")
    printk(f"cr4 {read_cr4():016x} fs  {rdmsr(MSR_FS_BASE):016x} gs  {rdmsr(MSR_GS_BASE):016x}")
    printk(f"the other gs, for swapgs: {rdmsr(MSR_KERNEL_GS_BASE):016x}")
