"""Which segment descriptors a guest may have in its descriptor tables.

Everything in them is at privilege level 3 or unusable: a data or code segment gets DPL 3; the
system segments that could change the processor's state (TSS, LDT, interrupt and trap gates) are
refused; a call gate gets DPL 0, so that its use faults.
Source: Intel SDM vol 3 3.4.5, 3.5, 5.8.3.
"""

import abi
from kpy import Array, Ptr, Tainted, inline, u64

DESC_PRESENT = 1 << 47
DESC_DPL = 3 << 45
DESC_DPL_SHIFT = 45
DESC_NO_SYSTEM = 1 << 44  # the S bit: a code or data segment
DESC_TYPE = 0xF << 40
DESC_ACCESSED = 1 << 40  # set beforehand: the processor sees the tables read-only and could not
DESC_CALL_GATE = 0xC << 40
GATE_SELECTOR_SHIFT = 16
GATE_RESERVED = 0xFF << 32


@inline
def checked_descriptor(descriptor: Tainted[u64]) -> tuple[Tainted[u64], bool]:
    """Return a descriptor in the form in which a guest may have it, and whether it may at all."""
    if descriptor & DESC_PRESENT == 0:
        return descriptor, True
    if descriptor & DESC_NO_SYSTEM:
        return descriptor | DESC_DPL | DESC_ACCESSED, True
    if descriptor & DESC_TYPE == 0:  # a second half of a call gate looks like this
        return descriptor | DESC_DPL, True
    return checked_call_gate(descriptor)


def checked_call_gate(descriptor: Tainted[u64]) -> tuple[Tainted[u64], bool]:
    """Check a system descriptor: only a call gate through the guest's own tables will do, and it is
    put out of use.
    """
    selector = descriptor >> GATE_SELECTOR_SHIFT & 0xFFFF
    is_own = selector & 4 != 0 or selector >> 3 < abi.FIRST_RESERVED_GDT_ENTRY
    if descriptor & DESC_TYPE != DESC_CALL_GATE or not is_own or descriptor & GATE_RESERVED != 0:
        return descriptor, False
    dpl = descriptor >> DESC_DPL_SHIFT & 3
    selector = (
        selector & 0xFFFC | dpl
    )  # where a guest that reads its gate finds the privilege level it gave
    cleared = descriptor & ~(DESC_DPL | 0xFFFF << GATE_SELECTOR_SHIFT)
    return cleared | selector << GATE_SELECTOR_SHIFT, True


def descriptors_okay(table: Ptr[Tainted[Array[u64, 512]]]) -> bool:
    """Check a page of descriptors, and bring it into the form in which the guest may have it."""
    for i in range(512):
        fixed, okay = checked_descriptor(table[i])
        if not okay:
            return False
        if fixed != table[i]:
            table[i] = fixed
    return True
