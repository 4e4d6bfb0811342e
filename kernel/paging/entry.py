"""Page-table entries of guests: which bits a guest may set, what the core adds, and how entries are
stored.

A 64-bit PV guest's kernel runs in ring 3, so every entry in force has _PAGE_USER. _PAGE_GLOBAL is
taken away: so each load of CR3 forgets all of a guest's translations, which the flush clock
(kernel/x86/tlb.py) relies on. Large pages are refused; CPUID does not offer them. The caching bits
are for domains that have device memory to map. Source: Intel SDM vol 3 4.5.4.
"""

from kpy import Ptr, Tainted, atomic_cas, atomic_store, inline, u32, u64, volatile_load

from kernel.base.ids import Mfn
from kernel.x86.bits import (
    PTE_ACCESSED,
    PTE_ADDRESS,
    PTE_CACHE_DISABLE,
    PTE_DIRTY,
    PTE_GLOBAL,
    PTE_LARGE,
    PTE_NX,
    PTE_PRESENT,
    PTE_USER,
    PTE_WRITE_THROUGH,
)
from kernel.x86.memlayout import L4_SLOT_END, L4_SLOT_FIRST

PTE_PAT = PTE_LARGE  # bit 7 in an L1 entry
PTE_AVAILABLE = 7 << 9 | 0x7FF << 52
CACHE_ATTRIBUTES = PTE_WRITE_THROUGH | PTE_CACHE_DISABLE | PTE_PAT
L1_DISALLOWED = CACHE_ATTRIBUTES  # for domains without device memory
UPPER_DISALLOWED = PTE_WRITE_THROUGH | PTE_CACHE_DISABLE | PTE_LARGE | PTE_GLOBAL
# Bits whose change needs no look at what the entry leads to.
FREE_TO_CHANGE = PTE_NX | PTE_AVAILABLE | PTE_GLOBAL | PTE_DIRTY | PTE_ACCESSED | PTE_USER
AD_BITS = PTE_ACCESSED | PTE_DIRTY

# How `store_entry` stores.
STORE_PLAIN = 0
STORE_KEEP_AD = 1  # MMU_PT_UPDATE_PRESERVE_AD
STORE_IF_SAME = 2  # only if the entry is still what the caller read


@inline
def entry_mfn(entry: Tainted[u64]) -> Mfn:
    """Return the frame that an entry leads to."""
    return Mfn((entry & PTE_ADDRESS) >> 12)


@inline
def adjusted_l1e(l1e: Tainted[u64]) -> Tainted[u64]:
    """Return an L1 entry as the core puts it into force."""
    return l1e & ~PTE_GLOBAL | PTE_USER if l1e & PTE_PRESENT else l1e


@inline
def adjusted_upper(entry: Tainted[u64]) -> Tainted[u64]:
    """Return an L2, L3 or L4 entry as the core puts it into force."""
    return entry | PTE_USER if entry & PTE_PRESENT else entry


@inline
def is_core_slot(level: u32, index: u64) -> bool:
    """Say whether an entry is one of the core's own in a guest's L4."""
    return level == 4 and L4_SLOT_FIRST <= index < L4_SLOT_END


@inline
def store_entry(entry: Ptr[Tainted[u64]], old: Tainted[u64], new: Tainted[u64], how: u32) -> bool:
    """Replace an entry that was `old`.

    The processor may set accessed and dirty bits in it at any time; all else changes under the
    page_lock only. No later load overtakes the store: a stamp that is read for what the old entry
    led to is of a time when nobody can find it any more (kernel/x86/tlb.py).

    Returns: False when it has changed, with STORE_IF_SAME.
    """
    if how == STORE_PLAIN:
        atomic_store(entry, new)
        return True
    wanted = new
    expected = old
    while True:
        if how == STORE_KEEP_AD:
            wanted = new | expected & AD_BITS
        found, done = atomic_cas(entry, expected, wanted)
        if done:
            return True
        if how == STORE_IF_SAME:
            return False
        assert (found ^ expected) & ~AD_BITS == 0, "an entry changed without its page_lock"
        expected = found


@inline
def read_entry(entry: Ptr[Tainted[u64]]) -> Tainted[u64]:
    """Read an entry once."""
    return volatile_load(entry)
