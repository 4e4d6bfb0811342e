"""Finding the L1 entry that maps an address in a guest's own kernel page tables, by the direct map.

Invariant: the tables below a guest's L4 are validated, so a present entry of level 2 to 4 leads to
a table of the level below, and never maps a large page. Locks: the domain's page_lock, so that the
tables stay what they are.
"""

from kpy import Ptr, Tainted, inline, ref, require, u64

from kernel.base.guest_memory import guest_address_okay
from kernel.base.ids import Mfn
from kernel.frames.frame import page_at
from kernel.paging.entry import entry_mfn
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import PTE_PRESENT

INDEX_MASK = 511


@inline
def find_l1e(v: Ptr[Vcpu], address: Tainted[u64]) -> Ptr[Tainted[u64]] | None:
    """Return the L1 entry for an address of the guest; None when there is no L1 table, or the
    address is the core's.
    """
    l4 = v.guest_table
    require(l4 is not None, None)
    return find_l1e_below(l4, address)


@inline
def find_l1e_below(l4: Mfn, address: Tainted[u64]) -> Ptr[Tainted[u64]] | None:
    """Do what `find_l1e` promises below a given L4 table of the guest, which it holds validated."""
    require(guest_address_okay(address), None)
    l4e = page_at(l4)[address >> 39 & INDEX_MASK]
    require(l4e & PTE_PRESENT, None)
    l3e = page_at(entry_mfn(l4e))[address >> 30 & INDEX_MASK]
    require(l3e & PTE_PRESENT, None)
    l2e = page_at(entry_mfn(l3e))[address >> 21 & INDEX_MASK]
    require(l2e & PTE_PRESENT, None)
    return ref(page_at(entry_mfn(l2e))[address >> 12 & INDEX_MASK])
