"""The address space of a libos program, shared by Python, assembly and the linker script.

The domain builder maps all that it loads at VIRT_BASE + pseudo-physical address, and libos goes on
like that: a page's virtual address and its page frame number (pfn) say the same thing. Which
machine frame (mfn) a pfn really is, the p2m list tells.
"""

import abi
from kpy import inline, newtype, static, u64

PAGE_SIZE = 4096
PAGE_SHIFT = 12
VIRT_BASE = 0xFFFF_8880_0000_0000
IMAGE_START = VIRT_BASE + 0x10_0000
STACK_BYTES = 16384
GRANT_FRAMES = 1
WORD_BITS = 64  # of the words that bitmaps are made of

shared_info = static(abi.shared_info, extern=True, symbol="shared_info")

Pfn = newtype("Pfn", u64)
Mfn = newtype("Mfn", u64)


@inline
def pfn_of(address: u64) -> Pfn:
    """The page in which an address of the direct map lies."""
    return Pfn((address - VIRT_BASE) >> PAGE_SHIFT)


@inline
def address_of(pfn: Pfn) -> u64:
    return VIRT_BASE + (u64(pfn) << PAGE_SHIFT)
