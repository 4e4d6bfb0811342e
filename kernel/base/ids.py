"""The distinct integer types of the core: addresses and names that must never be mixed up.

`Mfn` counts machine frames, `Pfn` a guest's pseudo-physical frames, `Maddr` is a machine address in
bytes and `Vaddr` a virtual one. `DomId` and `Port` are the ABI's names for domains and event
channels.

`Mfn | None` has 0 for None: frame 0 is in no table, so nobody owns it, and zeroed memory means "no
frame". It is for frames that somebody may hold; what a page table entry names, where domain 0 maps
the firmware's frame 0 too, is a plain `Mfn`.
"""

from kpy import inline, newtype, u16, u32, u64

Mfn = newtype("Mfn", u64, none=0)
Pfn = newtype("Pfn", u64)
Maddr = newtype("Maddr", u64, none=0)
Vaddr = newtype("Vaddr", u64, none=0)
DomId = newtype("DomId", u16)
Port = newtype("Port", u32)

PAGE_SHIFT = 12
PAGE_SIZE = 1 << PAGE_SHIFT
ENTRIES_PER_PAGE = PAGE_SIZE // 8  # of page tables, descriptor tables, lists of frames
NR_PIRQS = 256  # physical interrupts that domain 0 can have


@inline
def mfn_or_0(mfn: Mfn | None) -> u64:
    """Return how guests and processors are told of a frame: by its number, or 0 where there is
    none.
    """
    return u64(mfn) if mfn is not None else 0


@inline
def mfn_to_maddr(mfn: Mfn) -> Maddr:
    """Return the machine address of the first byte of a frame."""
    return Maddr(u64(mfn) << PAGE_SHIFT)


@inline
def maddr_to_mfn(maddr: Maddr) -> Mfn:
    """Return the frame that holds a machine address."""
    return Mfn(u64(maddr) >> PAGE_SHIFT)
