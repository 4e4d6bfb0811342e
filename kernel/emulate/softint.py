"""Software interrupts of guests: `int n` through the guest's own trap table.

The core's gates forbid `int n` to ring 3, so it arrives as #GP whose error code names the gate. The
vector is taken from the instruction itself where that can be read: QEMU 7.2 reports twice the
vector in the error code.
"""

from kpy import (
    Array,
    Guest,
    Ptr,
    Tainted,
    inline,
    noinline,
    ref,
    truncate,
    u8,
    u32,
    uninitialized,
    wrapping_add,
    wrapping_sub,
)

from kernel.base.guest_memory import copy_from_guest
from kernel.entry.bounce import TI_DPL, deliver_interrupt, deliver_trap
from kernel.state.vcpu import Vcpu
from kernel.x86.descriptors import GUEST_INT80_VECTOR
from kernel.x86.vectors import XEC_IDT, XEC_INDEX_SHIFT, TRAP_gp_fault

INT_OPCODE = 0xCD
INT_BYTES = 2
DPL_GUEST_KERNEL = 1  # a guest kernel counts as ring 1


def deliver_software_interrupt(vcpu: Ptr[Vcpu], vector: Tainted[u8]) -> bool:
    """Deliver `int n` to the guest's handler.

    False: the gate's DPL forbids it, and the guest gets its #GP.
    """
    needed: u8 = DPL_GUEST_KERNEL if vcpu.kernel_mode else 3
    if vcpu.trap_table[vector].flags & TI_DPL < needed:
        return False
    vcpu.regs.rip = wrapping_add(vcpu.regs.rip, INT_BYTES)
    deliver_interrupt(vcpu, vector)
    return True


@noinline
def deliver_int80(vcpu: Ptr[Vcpu]) -> None:
    """Deliver `int 0x80`, whose gate is open to ring 3, or the #GP of one that the guest's forbids:
    user mode must not end a guest whose kernel has no use for it.
    """
    vcpu.regs.rip = wrapping_sub(vcpu.regs.rip, INT_BYTES)
    if not deliver_software_interrupt(vcpu, GUEST_INT80_VECTOR):
        deliver_trap(vcpu, TRAP_gp_fault, GUEST_INT80_VECTOR << XEC_INDEX_SHIFT | XEC_IDT)


@inline
def software_vector(vcpu: Ptr[Vcpu], error_code: Tainted[u32]) -> Tainted[u8]:
    """Return which interrupt the guest asked for."""
    code = uninitialized(Tainted[Array[u8, INT_BYTES]])
    there = copy_from_guest(ref(code), Guest[Array[u8, INT_BYTES]](vcpu.regs.rip))
    if there and code[0] == INT_OPCODE:
        return code[1]
    return truncate(u8, error_code >> XEC_INDEX_SHIFT)
