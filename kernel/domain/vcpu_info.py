"""Where a vCPU's vcpu_info lies.

In the shared page, until the guest puts it into a page of its own.
"""

import abi
from kpy import (
    Ptr,
    Tainted,
    alignof,
    atomic_load,
    atomic_or,
    copy,
    fence,
    i64,
    ref,
    require,
    sizeof,
    trusted,
    u32,
    u64,
)

from kernel.base.ids import PAGE_SIZE, Mfn
from kernel.frames.page_type import PGT_writable_page, get_frame_and_type, put_frame_and_type
from kernel.state.vcpu import Vcpu, VPF_down
from kernel.x86.memlayout import mfn_to_vaddr

ALL_WORDS = (1 << 64) - 1


def register_vcpu_info(
    caller: Ptr[Vcpu], v: Ptr[Vcpu], frame: Tainted[u64], offset: Tainted[u32]
) -> i64:
    """Move a vCPU's vcpu_info to a place in the guest's memory, for good.

    Source: Xen public ABI, vcpu.h, VCPUOP_register_vcpu_info.
    Errors: -ENXIO, it would cross the page's end, or is not aligned; -EINVAL, it was moved before,
    the vCPU may be running elsewhere, or the frame isn't ordinary memory of the guest.
    Locks: the domain's, held.
    """
    require(u64(offset) <= PAGE_SIZE - sizeof(abi.vcpu_info), -abi.ENXIO)
    require(offset % alignof(abi.vcpu_info) == 0, -abi.ENXIO)
    require(v.vcpu_info_mfn is None, -abi.EINVAL)
    require(v == caller or atomic_load(ref(v.pause_flags)) & VPF_down != 0, -abi.EINVAL)
    mfn = Mfn(trusted(frame))  # get_frame_and_type takes any number
    require(get_frame_and_type(mfn, v.domain, PGT_writable_page), -abi.EINVAL)
    # The references keep the frame the guest's ordinary memory as long as the core writes there.
    place = Ptr[Tainted[abi.vcpu_info]](u64(mfn_to_vaddr(mfn)) + u64(offset))
    copy(place, v.vcpu_info)
    v.vcpu_info = place
    v.vcpu_info_mfn = mfn
    fence()
    # An event may have been noted at the old place after the copy: a spurious upcall makes the
    # guest look at all.
    place.evtchn_upcall_pending = 1
    atomic_or(ref(place.evtchn_pending_sel), ALL_WORDS)
    return 0


def reset_vcpu_info(v: Ptr[Vcpu]) -> None:
    """Go back to the shared page, giving up the guest's frame.

    Context: the vCPU never runs again.
    """
    mfn = v.vcpu_info_mfn
    v.vcpu_info = ref(v.domain.shared_info.vcpu_info[v.vcpu_id])
    v.vcpu_info_mfn = None
    if mfn is not None:
        put_frame_and_type(mfn)
