"""The hypercalls on segment descriptors: set_gdt, update_descriptor."""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Tainted,
    i64,
    ref,
    require,
    trusted,
    u32,
    u64,
    uninitialized,
    volatile_store,
)

from kernel.base.guest_memory import copy_slice_from_guest
from kernel.base.ids import Mfn
from kernel.base.registry import hypercall
from kernel.frames.descriptor_check import checked_descriptor
from kernel.frames.frame import get_frame, page_at, put_frame
from kernel.frames.page_type import (
    PGT_seg_desc_page,
    PGT_writable_page,
    get_frame_type,
    held_descriptors,
    put_frame_type,
)
from kernel.paging.segments import DESCRIPTORS_PER_FRAME, set_gdt
from kernel.state.vcpu import Vcpu
from kernel.x86.tlb import flush_tlb_local

DESCRIPTOR_BYTES = 8


@hypercall(abi.__HYPERVISOR_set_gdt)
def do_set_gdt(v: Ptr[Vcpu], frame_list: Guest[u64], count: Tainted[u32]) -> i64:
    """Make frames the GDT of the calling vCPU.

    Hypercall: set_gdt(frame_list: mfn[] in the guest, one for each 512 entries begun, count: u32).
    Source: Xen public ABI, arch-x86/xen.h, FIRST_RESERVED_GDT_ENTRY.
    Errors: -EINVAL, too many entries, or a frame that can't be a descriptor table; -EFAULT, the
    list.
    """
    require(count <= abi.FIRST_RESERVED_GDT_ENTRY, -abi.EINVAL)
    frames = uninitialized(Tainted[Array[u64, 16]])
    nr_frames = (u64(count) + DESCRIPTORS_PER_FRAME - 1) // DESCRIPTORS_PER_FRAME
    require(copy_slice_from_guest(frames[0:nr_frames], frame_list), -abi.EFAULT)
    with v.domain.page_lock:
        result = set_gdt(v, ref(frames), count)
    if result == 0:
        flush_tlb_local()
    return result


@hypercall(abi.__HYPERVISOR_update_descriptor)
def do_update_descriptor(v: Ptr[Vcpu], address: Tainted[u64], descriptor: Tainted[u64]) -> i64:
    """Change one descriptor in a frame of the guest's, be it in use as a descriptor table or not.

    Hypercall: update_descriptor(address: machine address, descriptor: u64).
    Source: Xen public ABI, xen.h; Intel SDM vol 3 3.4.5.
    Errors: -EINVAL, not at a multiple of 8, a descriptor that no guest may have, not the guest's
    frame, or a page table.
    Locks: the domain's page_lock.
    """
    fixed, okay = checked_descriptor(descriptor)
    require(address % DESCRIPTOR_BYTES == 0 and okay, -abi.EINVAL)
    mfn = Mfn(trusted(address) >> 12)  # any number will do
    with v.domain.page_lock:
        require(get_frame(mfn, v.domain), -abi.EINVAL)
        result = store_descriptor(mfn, address & 4095, fixed)
        put_frame(mfn)
    return result


def store_descriptor(mfn: Mfn, offset: u64, descriptor: Tainted[u64]) -> i64:
    """Store a checked descriptor in a frame that is a descriptor table, or can be written.

    Errors: -EINVAL, it can't be.
    """
    wanted: u64 = PGT_seg_desc_page if held_descriptors(mfn) else PGT_writable_page
    require(get_frame_type(mfn, wanted), -abi.EINVAL)
    volatile_store(ref(page_at(mfn)[offset // DESCRIPTOR_BYTES]), descriptor)
    put_frame_type(mfn)
    return 0
