"""The GDT and LDT of a vCPU: frames of the guest that its processor uses as descriptor tables.

Each frame in use has a reference and a seg_desc type reference, so the guest can't write it but by
update_descriptor. GDT frames are mapped into the vCPU's window when they are set; LDT frames one by
one, when the processor first looks into them.
Locks: the domain's page_lock, for everything here.
"""

import abi
from kpy import Array, Ptr, Tainted, i64, inline, require, trusted, u32, u64, wrapping_add

from kernel.base.ids import Mfn
from kernel.frames.page_type import PGT_seg_desc_page, get_frame_and_type, put_frame_and_type
from kernel.paging.entry import entry_mfn, read_entry
from kernel.paging.guest_walk import find_l1e
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.bits import PTE_PRESENT
from kernel.x86.context import load_guest_descriptor_tables
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.percpu import this_cpu
from kernel.x86.perdomain import set_gdt_frame, set_ldt_frame

MAX_GDT_FRAMES = abi.FIRST_RESERVED_GDT_PAGE
DESCRIPTORS_PER_FRAME = 512
MAX_LDT_ENTRIES = 8192
NR_LDT_FRAMES = 16


def set_gdt(v: Ptr[Vcpu], frames: Ptr[Tainted[Array[u64, 16]]], nr_entries: u32) -> i64:
    """Make frames the GDT of a vCPU that is the running one, or stopped.

    Errors: -EINVAL, more entries than there is room, or a frame that is not the guest's, is mapped
    writable, or holds a descriptor that no guest may have; the old GDT then stays.
    """
    require(nr_entries <= abi.FIRST_RESERVED_GDT_ENTRY, -abi.EINVAL)
    count = (u64(nr_entries) + DESCRIPTORS_PER_FRAME - 1) // DESCRIPTORS_PER_FRAME
    require(get_descriptor_frames(v.domain, frames, count), -abi.EINVAL)
    destroy_gdt(v)
    for i in range(count):
        v.gdt_frames[i] = nth_frame(frames, i)
        set_gdt_frame(v, i, nth_frame(frames, i))
    v.gdt_ents = nr_entries
    return 0


@inline
def nth_frame(frames: Ptr[Tainted[Array[u64, 16]]], i: u64) -> Mfn:
    """Return a frame of a list in the core's memory."""
    return Mfn(trusted(frames[i]))  # get_frame_and_type takes any number


def get_descriptor_frames(d: Ptr[Domain], frames: Ptr[Tainted[Array[u64, 16]]], count: u64) -> bool:
    """Take a reference and a seg_desc type reference to each of `count` frames of a domain.

    Returns: False, and none is taken, when that is impossible for one of them.
    """
    for i in range(count):
        if not get_frame_and_type(nth_frame(frames, i), d, PGT_seg_desc_page):
            for j in range(i):
                put_frame_and_type(nth_frame(frames, j))
            return False
    return True


def destroy_gdt(v: Ptr[Vcpu]) -> None:
    """Take a vCPU's GDT frames out of use."""
    v.gdt_ents = 0
    for i in range(MAX_GDT_FRAMES):
        mfn = v.gdt_frames[i]
        if mfn is not None:
            v.gdt_frames[i] = None
            set_gdt_frame(v, i, None)
            put_frame_and_type(mfn)


def set_ldt(v: Ptr[Vcpu], base: Tainted[u64], nr_entries: u32) -> None:
    """Use `nr_entries` descriptors at guest address `base` as the LDT of the running vCPU, or of
    one that is stopped.
    """
    destroy_ldt(v)
    v.ldt_base = base
    v.ldt_ents = nr_entries
    if this_cpu().current == v:
        load_guest_descriptor_tables(v)


def destroy_ldt(v: Ptr[Vcpu]) -> None:
    """Unmap all LDT frames of a vCPU that is the running one, or stopped; they come back as they
    are used.
    """
    unmap_ldt(v)
    put_ldt_frames(v)


def unmap_ldt(v: Ptr[Vcpu]) -> bool:
    """Unmap all LDT frames of a vCPU, and keep their references. Returns: whether there were
    any.
    """
    found = False
    for i in range(NR_LDT_FRAMES):
        if v.ldt_frames[i] is not None:
            set_ldt_frame(v, i, None)
            found = True
    return found


def put_ldt_frames(v: Ptr[Vcpu]) -> None:
    """Give the references of a vCPU's LDT frames back, which no processor sees any more."""
    for i in range(NR_LDT_FRAMES):
        mfn = v.ldt_frames[i]
        if mfn is not None:
            v.ldt_frames[i] = None
            put_frame_and_type(mfn)


def forget_ldt_mappings(d: Ptr[Domain]) -> None:
    """Unmap all LDT frames of a domain: it removes a mapping of one, and will expect it to be
    untyped soon.

    As long as a processor may use a frame as an LDT nobody can write to it: so the flush comes
    before the references go.
    """
    found = False
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None and unmap_ldt(v):
            found = True
    if not found:
        return
    flush_tlb_mask(d.dirty_cpumask)
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            put_ldt_frames(v)


def map_ldt_page(v: Ptr[Vcpu], offset: u64) -> bool:
    """Map the page of the running vCPU's LDT that `offset` lies in.

    Returns: False when the guest has none there.
    """
    page = offset // 4096
    require(offset // 8 < u64(v.ldt_ents) and v.ldt_frames[page] is None, False)
    entry = find_l1e(v, wrapping_add(v.ldt_base, page * 4096))
    require(entry is not None, False)
    l1e = read_entry(entry)
    require(l1e & PTE_PRESENT, False)
    mfn = entry_mfn(l1e)
    require(get_frame_and_type(mfn, v.domain, PGT_seg_desc_page), False)
    v.ldt_frames[page] = mfn
    set_ldt_frame(v, page, mfn)
    return True
