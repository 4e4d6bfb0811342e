"""The core's slots in a guest's L4: the same in every address space, but for the
machine-to-physical table in slot 256.

User mode must not see that table unless its kernel wants so: without VMASST_TYPE_m2p_strict an L4
begins without it and gets it when it becomes a kernel's; with it, an L4 begins with the table and
loses it when it becomes a user's.
"""

import abi
from kpy import Array, Ptr, Tainted, bit, u64

from kernel.base.ids import Mfn, mfn_to_maddr
from kernel.frames.frame import page_at
from kernel.state.domain import Domain
from kernel.x86.memlayout import L4_SLOT_FIRST
from kernel.x86.paging import core_l4, fill_core_slots, table_at


def is_m2p_strict(d: Ptr[Domain]) -> bool:
    """Say whether a guest hides the machine-to-physical table from its user mode by itself."""
    return d.vm_assist & bit(abi.VMASST_TYPE_m2p_strict) != 0


def fill_guest_l4(l4: Ptr[Tainted[Array[u64, 512]]], d: Ptr[Domain]) -> None:
    """Write the core's slots of an L4 that has just been validated."""
    l3 = d.perdomain_l3
    assert l3 is not None, "a live domain has no window for descriptor tables"
    fill_core_slots(l4, mfn_to_maddr(l3))
    if not is_m2p_strict(d):
        l4[L4_SLOT_FIRST] = 0


def show_m2p(l4: Mfn) -> None:
    """Show the machine-to-physical table in an L4 that becomes a guest kernel's."""
    page_at(l4)[L4_SLOT_FIRST] = table_at(core_l4)[L4_SLOT_FIRST]


def hide_m2p(l4: Mfn, d: Ptr[Domain]) -> None:
    """Hide the machine-to-physical table in an L4 that becomes a guest user mode's, if the guest
    wants that.
    """
    if is_m2p_strict(d):
        page_at(l4)[L4_SLOT_FIRST] = 0
