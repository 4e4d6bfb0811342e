"""Descriptor tables of the processors: GDT, IDT, task-state segments, and the MSRs of `syscall`.

One page holds the core's GDT entries for all processors: the reserved ones of the PV ABI, then a
TSS and an LDT descriptor for each processor. Every vCPU's GDT window (kernel/x86/perdomain.py)
shows this page behind the guest's own 14, so a context switch only reloads the base. There is one
IDT. Source: Intel SDM vol 3 3.4.5, 6.14, 8.2; AMD APM vol 2 6.1.1 (STAR).
"""

from kpy import Array, Ptr, extern, ref, sizeof, static, struct, truncate, u8, u16, u32, u64

from kernel.x86.bits import (
    EFLAGS_AC,
    EFLAGS_DF,
    EFLAGS_IF,
    EFLAGS_IOPL,
    EFLAGS_NT,
    EFLAGS_RF,
    EFLAGS_TF,
    EFLAGS_VM,
    MSR_CSTAR,
    MSR_LSTAR,
    MSR_SFMASK,
    MSR_STAR,
    MSR_SYSENTER_CS,
)
from kernel.x86.cpu import lgdt, lidt, lldt, ltr, wrmsr
from kernel.x86.percpu import DB_STACK_END, DF_STACK_END, MC_STACK_END, NMI_STACK_END, Pcpu, Tss
from kernel.x86.selectors import (
    CORE_CS,
    CORE_DS,
    FIRST_LDT,
    FIRST_TSS,
    FLAT_RING1_CS,
    FLAT_RING3_CS32,
    FLAT_RING3_CS64,
    FLAT_RING3_SS,
    GDT_LIMIT,
    RESERVED_GDT_BYTE,
    SYSCALL_BASE,
    SYSRET_BASE,
)
from kernel.x86.syscall_entry import STUB_STRIDE, SYSCALL_STRIDE
from kernel.x86.vectors import (
    TRAP_debug,
    TRAP_double_fault,
    TRAP_int3,
    TRAP_machine_check,
    TRAP_nmi,
    TRAP_overflow,
)

GUEST_INT80_VECTOR = 0x80
INTERRUPT_GATE = 0x8E00
DPL_SHIFT = 13
IST_NMI, IST_DF, IST_DB, IST_MC = 1, 2, 3, 4
SYSTEM_TSS = 0x0000890000000000  # available 64-bit TSS
SYSTEM_LDT = 0x0000820000000000
SFMASK = (
    EFLAGS_TF | EFLAGS_IF | EFLAGS_DF | EFLAGS_IOPL | EFLAGS_NT | EFLAGS_RF | EFLAGS_VM | EFLAGS_AC
)


@struct(align=4096)
class GdtPage:
    entries: Array[u64, 512]


@struct
class Gate:
    """An entry of the IDT."""

    offset_low: u16
    selector: u16
    attributes: u16
    offset_middle: u16
    offset_high: u32
    reserved: u32


@struct(align=4096)
class Idt:
    gates: Array[Gate, 256]


@struct(packed=True)
class TablePointer:
    limit: u16
    base: u64


INITIAL_GDT = {
    CORE_CS: 0x00AF9B000000FFFF,
    CORE_DS: 0x00CF93000000FFFF,
    FLAT_RING1_CS: 0x00CFBB000000FFFF,
    FLAT_RING3_CS32: 0x00CFFB000000FFFF,
    FLAT_RING3_SS: 0x00CFF3000000FFFF,
    FLAT_RING3_CS64: 0x00AFFB000000FFFF,
}
initial_entries = [0] * 512
for selector, descriptor in INITIAL_GDT.items():
    initial_entries[(selector - RESERVED_GDT_BYTE) // 8] = descriptor

core_gdt = static(GdtPage, {"entries": initial_entries}, section=".data")
idt = static(Idt, section=".bss.page_aligned")

USES_IST = {
    TRAP_nmi: IST_NMI,
    TRAP_double_fault: IST_DF,
    TRAP_debug: IST_DB,
    TRAP_machine_check: IST_MC,
}
OPEN_TO_RING3 = (TRAP_int3, TRAP_overflow, GUEST_INT80_VECTOR)
gate_attributes = static(
    Array[u16, 256],
    [
        INTERRUPT_GATE | USES_IST.get(n, 0) | (3 << DPL_SHIFT if n in OPEN_TO_RING3 else 0)
        for n in range(256)
    ],
)

vector_stubs = static(u8, extern=True, symbol="vector_stubs")
syscall_stubs = static(u8, extern=True, symbol="syscall_stubs")
syscall32_stubs = static(u8, extern=True, symbol="syscall32_stubs")


@extern
def reload_segments() -> None:
    """Load CS and SS from the new GDT (instructions.asm)."""


def fill_idt() -> None:
    """Point every gate at its stub in entry.asm."""
    for vector in range(256):
        address = u64(ref(vector_stubs)) + vector * STUB_STRIDE
        idt.gates[vector] = Gate(
            offset_low=truncate(u16, address),
            selector=CORE_CS,
            attributes=gate_attributes[vector],
            offset_middle=truncate(u16, address >> 16),
            offset_high=truncate(u32, address >> 32),
        )


def load_descriptor_tables(cpu: Ptr[Pcpu]) -> None:
    """Make this processor use the core's tables, and its own TSS and stacks."""
    load_gdt(u64(ref(core_gdt)) - RESERVED_GDT_BYTE)
    reload_segments()
    idt_pointer = TablePointer(limit=sizeof(Idt) - 1, base=u64(ref(idt)))
    lidt(u64(ref(idt_pointer)))
    fill_tss(cpu)
    selector = FIRST_TSS + truncate(u16, cpu.id) * 16
    write_system_descriptor(selector, u64(ref(cpu.tss)), sizeof(Tss) - 1, SYSTEM_TSS)
    ltr(selector)
    lldt(0)


def load_gdt(base: u64) -> None:
    """Use the descriptors whose reserved page is at `base` + RESERVED_GDT_BYTE."""
    pointer = TablePointer(limit=GDT_LIMIT, base=base)
    lgdt(u64(ref(pointer)))


def load_core_tables(cpu: Ptr[Pcpu]) -> None:
    """Use descriptors that no guest's page tables are needed for."""
    cpu.loaded_gdt = 0
    cpu.has_ldt = False
    load_gdt(u64(ref(core_gdt)) - RESERVED_GDT_BYTE)
    lldt(0)


def fill_tss(cpu: Ptr[Pcpu]) -> None:
    """Name the stacks of the exceptions that cannot trust rsp."""
    area = u64(cpu)
    cpu.tss.ist[IST_NMI - 1] = area + NMI_STACK_END
    cpu.tss.ist[IST_DF - 1] = area + DF_STACK_END
    cpu.tss.ist[IST_DB - 1] = area + DB_STACK_END
    cpu.tss.ist[IST_MC - 1] = area + MC_STACK_END
    cpu.tss.iomap_base = sizeof(Tss)  # beyond the limit: ring 3 owns no port


def write_system_descriptor(selector: u16, base: u64, limit: u64, kind: u64) -> None:
    """Write a 16-byte descriptor of a TSS or LDT into the shared page."""
    index = u64(selector - RESERVED_GDT_BYTE) // 8
    core_gdt.entries[index + 1] = base >> 32
    core_gdt.entries[index] = (
        kind | limit & 0xFFFF | (base & 0xFFFFFF) << 16 | (base & 0xFF000000) << 32
    )


def load_ldt(cpu: Ptr[Pcpu], base: u64, nr_entries: u32) -> None:
    """Load an LDT of a guest that begins at `base`; none when `nr_entries` is 0."""
    if nr_entries == 0:
        lldt(0)
        return
    selector = FIRST_LDT + truncate(u16, cpu.id) * 16
    write_system_descriptor(selector, base, u64(nr_entries) * 8 - 1, SYSTEM_LDT)
    lldt(selector)


def set_syscall_entry(cpu: Ptr[Pcpu]) -> None:
    """Direct `syscall` to this processor's stubs; `sysenter` raises #GP, which its guest may
    handle.
    """
    wrmsr(MSR_STAR, SYSCALL_BASE << 32 | SYSRET_BASE << 48)
    wrmsr(MSR_LSTAR, u64(ref(syscall_stubs)) + u64(cpu.id) * SYSCALL_STRIDE)
    wrmsr(MSR_CSTAR, u64(ref(syscall32_stubs)) + u64(cpu.id) * SYSCALL_STRIDE)
    wrmsr(MSR_SFMASK, SFMASK)
    wrmsr(MSR_SYSENTER_CS, 0)
