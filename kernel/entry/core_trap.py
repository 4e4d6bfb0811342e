"""Exceptions that strike the core itself: expected faults go to their fixups, all others are a
panic with registers.

An expected fault is an instruction of fault_safe.asm that touches something of a guest's; the
exception table names it.
"""

import abi
from kpy import (
    Array,
    Never,
    Ptr,
    Slice,
    Tainted,
    cold,
    export,
    ref,
    sizeof,
    static,
    struct,
    u8,
    u32,
    u64,
)

from kernel.console.console import end_partial_line, printk
from kernel.paging.segments import map_ldt_page
from kernel.panic.cpu_state import is_asked, note_state, report_all
from kernel.panic.panic import begin_panic, end_panic
from kernel.x86 import reset
from kernel.x86.cpu import halt_forever, read_cr2, read_dr6, write_dr6
from kernel.x86.percpu import this_cpu
from kernel.x86.perdomain import LDT_WINDOW_BYTES, ldt_window
from kernel.x86.vectors import TRAP_debug, TRAP_page_fault

BLANK = ord(" ")


@struct
class Fixup:
    """An entry of the exception table."""

    address: u64  # of the instruction that may fault
    resume: u64  # where to go on


exception_table_start = static(u8, extern=True, symbol="exception_table_start")
exception_table_end = static(u8, extern=True, symbol="exception_table_end")
NAMES = """
DE DB NMI BP OF BR UD NM DF 09 TS NP SS GP PF 15 MF AC MC XM VE CP 22 23 24 25 26 27 HV VC SX 31
"""
exception_names = static(
    Array[Array[u8, 4], 32], [f"#{name}".ljust(4).encode() for name in NAMES.split()]
)


@export
def trap_from_core(regs: Ptr[Tainted[abi.cpu_user_regs]], vector: u32) -> None:
    """Handle an exception in ring 0: redirect it to its fixup, or panic.

    Context: from entry.asm; `regs` was pushed on the present stack and is loaded again on return.
    """
    if vector == TRAP_debug:
        note_debug_trap()
        return
    if vector == TRAP_page_fault and map_missing_ldt_page(read_cr2()):
        return
    entry = u64(ref(exception_table_start))
    while entry < u64(ref(exception_table_end)):
        # The linker script bounds the table, and fault_safe.asm fills it with whole entries.
        fixup = Ptr[Fixup](entry)
        if fixup.address == regs.rip:
            regs.rip = fixup.resume
            return
        entry += sizeof(Fixup)
    fatal_exception(regs, vector)


def map_missing_ldt_page(address: u64) -> bool:
    """Map the page of a guest's LDT that the core looked into as it loaded one of the guest's
    selectors.

    Returns: whether that was the reason of the fault.
    """
    v = this_cpu().current
    if v is None or address < ldt_window(v) or address >= ldt_window(v) + LDT_WINDOW_BYTES:
        return False
    with v.domain.page_lock:
        return map_ldt_page(v, address - ldt_window(v))


def note_debug_trap() -> None:
    """Forget a breakpoint that struck while the core accessed guest memory, as Xen does."""
    this_cpu().dr6 = read_dr6()
    write_dr6(0)


@cold
def exception_name(vector: u32) -> Slice[u8]:
    """Return an exception's mnemonic, such as #PF."""
    name = ref(exception_names[vector & 31])
    return name[0:3] if name[3] == BLANK else name[0:4]


@cold
def fatal_exception(regs: Ptr[Tainted[abi.cpu_user_regs]], vector: u32) -> Never:
    """Report an exception of the core's own making."""
    name = exception_name(vector)
    if not begin_panic():
        printk(f"panic within the report: {name} at {regs.rip:#x}")
        halt_forever()
    printk(f"panic: {name} in the core, error code {regs.error_code:#x}, cpu {this_cpu().id}")
    end_panic(regs)


@export
def nmi_from_anywhere(regs: Ptr[Tainted[abi.cpu_user_regs]]) -> None:
    """Note what this processor was doing, for another one that asks; stop if that one panics.

    An NMI that nobody asked for comes from outside: a button, a watchdog, failing memory. The first
    processor then prints what all of them do.

    Context: the NMI stack; anything may have been interrupted, so no locks.
    """
    cpu = this_cpu()
    cpu.nmi_count += 1
    was_asked = is_asked(cpu)
    note_state(regs)
    if reset.is_stopping:
        halt_forever()
    if not was_asked and cpu.id == 0:
        was_in_nmi = cpu.in_nmi
        cpu.in_nmi = True  # printk takes no locks, and leaves alone what it interrupted
        end_partial_line()
        printk("NMI from outside; what every processor was doing:")
        report_all(regs)
        printk("NMI from outside is answered.")
        cpu.in_nmi = was_in_nmi


@export
@cold
def double_fault(regs: Ptr[Tainted[abi.cpu_user_regs]]) -> Never:
    """Report a fault while delivering a fault: most often a stack overflow into a guard page."""
    fatal_exception(regs, 8)


@export
@cold
def machine_check(regs: Ptr[Tainted[abi.cpu_user_regs]]) -> Never:
    """Report broken hardware."""
    fatal_exception(regs, 18)
