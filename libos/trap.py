"""Exceptions: registered with the hypervisor, reported, and the end of the program. A breakpoint
only reports.
"""

import abi
from kpy import Array, Ptr, Slice, export, ref, static, struct, u8, u64

from libos.console import say
from libos.hypercall import set_trap_table
from libos.layout import shared_info
from libos.panic import backtrace, stop_crashed
from libos.probe import resume_probe
from libos.stack import NO_STACK, overflowed
from libos.symbols import print_address
from libos.trap_vectors import NAMES, NR_TRAPS, TRAP_breakpoint, TRAP_overflow, TRAP_page_fault

RING_3 = 3

table = static(Array[abi.trap_info, NR_TRAPS + 1])
trap_entries = static(Array[u64, NR_TRAPS], extern=True, symbol="trap_entries")


@struct
class Name:
    text: Slice[u8]


names = static(Array[Name, NR_TRAPS], [{"text": name} for name in NAMES])


def init_traps() -> None:
    for vector in range(NR_TRAPS):
        table[vector].vector = u8(vector)
        # int3 and into may be executed; any other `int n` would come without its error code.
        table[vector].flags = RING_3 if vector in (TRAP_breakpoint, TRAP_overflow) else 0
        table[vector].cs = abi.FLAT_KERNEL_CS
        table[vector].address = trap_entries[vector]
    assert set_trap_table(u64(ref(table))) == 0


@export
def handle_trap(regs: Ptr[abi.cpu_user_regs]) -> None:
    """Report an exception. Reached from start.asm."""
    if resume_probe(regs):
        return
    vector = u64(regs.entry_vector)
    say(f"trap {vector}: {names[vector].text}, error code {regs.error_code:#x}")
    if vector == TRAP_page_fault:
        report_page_fault(shared_info.vcpu_info[0].arch.cr2)
    print_registers(regs)
    if vector != TRAP_breakpoint:
        backtrace(regs.rbp)
        stop_crashed()


def report_page_fault(address: u64) -> None:
    say(f"  address {address:#x}")
    thread = overflowed(address)
    if thread != NO_STACK:
        say(f"stack overflow in thread {thread}")


def print_registers(regs: Ptr[abi.cpu_user_regs]) -> None:
    print_address(regs.rip, regs.rip)
    say(f"  rsp {regs.rsp:#018x} rflags {regs.rflags:#x} rbp {regs.rbp:#018x}")
    say(f"  rax {regs.rax:#018x} rbx {regs.rbx:#018x} rcx {regs.rcx:#018x} rdx {regs.rdx:#018x}")
    say(f"  rsi {regs.rsi:#018x} rdi {regs.rdi:#018x} r8  {regs.r8:#018x} r9  {regs.r9:#018x}")
    say(f"  r10 {regs.r10:#018x} r11 {regs.r11:#018x} r12 {regs.r12:#018x} r13 {regs.r13:#018x}")
    say(f"  r14 {regs.r14:#018x} r15 {regs.r15:#018x}")
