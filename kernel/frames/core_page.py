"""The core's own pages: allocated from the heap like any frame, but their owner is no domain.

`share_core_page` gives one to a domain to map, as if it were the domain's own frame: shared_info
and grant tables are such pages. It then keeps one reference of the type that the domain may use it
as, so that it can't become a page table.
"""

import abi
from kpy import Ptr, inline, require, u32, u64, zero

from kernel.base.ids import DomId, Mfn, Vaddr
from kernel.frames.frame import CORE_OWNER, FRAME_ALLOCATED, FRAME_CORE, drop_allocation, page_at
from kernel.frames.heap import ALL_ZONES, give_block, heap_lock, take_block
from kernel.frames.m2p import INVALID_M2P, set_m2p
from kernel.frames.page_type import (
    TYPE_ONE,
    PGT_none,
    PGT_validated,
    PGT_writable_page,
    put_frame_type,
)
from kernel.state.domain import Domain, get_domain
from kernel.state.frame_table import frame_at
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.memlayout import mfn_to_vaddr, vaddr_to_maddr
from kernel.x86.percpu import online_cpus
from kernel.x86.tlb import cpus_needing_flush


def alloc_core_page() -> Vaddr | None:
    """Allocate a zeroed page for the core.

    Returns: its address in the direct map, None when memory is out.
    """
    return alloc_core_pages(0)


def alloc_core_pages(order: u32) -> Vaddr | None:
    """Allocate 2^order adjacent zeroed pages for the core.

    Returns: their address in the direct map, None when memory is out.
    """
    with heap_lock:
        mfn = take_block(order, ALL_ZONES)
    require(mfn is not None, None)
    flush_tlb_mask(cpus_needing_flush(online_cpus(), frame_at(mfn).stamp))
    for i in range(u64(1) << u64(order)):
        frame_at(mfn + i).owner = CORE_OWNER
        frame_at(mfn + i).info = 0
        zero(page_at(mfn + i))
    return mfn_to_vaddr(mfn)


def core_page_mfn(page: Vaddr) -> Mfn:
    """Return the frame of a core page."""
    return Mfn(u64(vaddr_to_maddr(page)) >> 12)


def share_core_page(page: Vaddr, d: Ptr[Domain], writable: bool) -> None:
    """Let a domain map a page of the core as if it owned it; it counts as the domain's until the
    last mapping is gone.
    """
    mfn = core_page_mfn(page)
    frame = frame_at(mfn)
    assert frame.owner == CORE_OWNER, "the core page is shared already"
    with heap_lock:
        if d.tot_pages == 0 and d.xenheap_pages == 0:
            get_domain(d)
        d.xenheap_pages += 1
    set_m2p(mfn, INVALID_M2P)
    frame.owner = d.domain_id
    frame.info = shared_info_of(writable)


def share_with_privileged(page: Vaddr, count: u32, writable: bool) -> None:
    """Let privileged domains map adjacent pages of the core, naming DOMID_XEN as their owner. They
    are never freed.
    """
    for i in range(u64(count)):
        mfn = core_page_mfn(page) + i
        set_m2p(mfn, INVALID_M2P)
        frame_at(mfn).owner = DomId(abi.DOMID_XEN)
        frame_at(mfn).info = shared_info_of(writable)


@inline
def shared_info_of(writable: bool) -> u64:
    """Return `Frame.info` of a page of the core that is shared: allocated, with one type reference
    of the core's that keeps what guests may use it as.
    """
    type_: u64 = PGT_writable_page if writable else PGT_none
    return FRAME_CORE | FRAME_ALLOCATED | 1 | PGT_validated | TYPE_ONE | type_


def free_core_page(page: Vaddr) -> None:
    """Give a core page back. One that is shared goes when nobody maps it any more."""
    frame = frame_at(core_page_mfn(page))
    if frame.owner == CORE_OWNER:
        free_core_pages(page, 0)
        return
    put_frame_type(core_page_mfn(page))
    drop_allocation(frame)


def free_core_pages(page: Vaddr, order: u32) -> None:
    """Give 2^order adjacent pages back that only the core used."""
    with heap_lock:
        give_block(core_page_mfn(page), order, 0)
