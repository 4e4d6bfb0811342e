"""Memory operations about memory maps: the machine's e820, a domain's, and where the
machine-to-physical table is.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Result,
    Slice,
    Tainted,
    i64,
    ok,
    ref,
    require,
    sizeof,
    store,
    truncate,
    u8,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import (
    copy_from_guest,
    copy_slice_from_guest,
    copy_slice_to_guest,
    copy_to_guest,
)
from kernel.base.ids import Mfn, mfn_or_0
from kernel.frames.core_page import alloc_core_page
from kernel.frames.m2p import m2p_extent
from kernel.memory.operations import memory_op
from kernel.memory.query import get_subject
from kernel.state.domain import Domain, DOMDYING_alive
from kernel.state.frame_table import max_page
from kernel.state.vcpu import Vcpu
from kernel.x86 import bootmem
from kernel.x86.memlayout import MACH2PHYS_VIRT_START

MAX_E820 = 4096 // sizeof(abi.e820entry)
XEN_MAX_E820 = 1024
MACH2PHYS_VIRT_END = MACH2PHYS_VIRT_START + (1 << 38)
FRAMES_PER_EXTENT = 1 << 18  # whose numbers fill 2 MiB of the machine-to-physical table


@memory_op(abi.XENMEM_machine_memory_map)
def memory_machine_memory_map(v: Ptr[Vcpu], arg: Guest[abi.xen_memory_map]) -> Result[None]:
    """Copy the machine's memory map to domain 0; a null buffer asks for the number of entries.

    Errors: -EPERM, not privileged, whatever the structure; -EFAULT; -EINVAL, too little room.
    """
    require(v.domain.is_privileged, -abi.EPERM)
    map_ = uninitialized(Tainted[abi.xen_memory_map])
    require(copy_from_guest(ref(map_), arg), -abi.EFAULT)
    if map_.buffer != 0:
        require(u64(map_.nr_entries) >= bootmem.nr_regions, -abi.EINVAL)
        require(copy_machine_map(Guest[abi.e820entry](map_.buffer)), -abi.EFAULT)
    map_.nr_entries = truncate(u32, bootmem.nr_regions)
    require(copy_to_guest(arg, ref(map_)), -abi.EFAULT)


def copy_machine_map(to: Guest[abi.e820entry]) -> bool:
    """Copy the machine's memory map to a guest. Returns: whether it could be written."""
    for i in range(bootmem.nr_regions):
        region = ref(bootmem.memory_map[i])
        entry = abi.e820entry(addr=region.start, size=region.end - region.start, type=region.kind)
        if not copy_to_guest(to.index(i), ref(entry)):
            return False
    return True


@memory_op(abi.XENMEM_memory_map, result=True)
def memory_memory_map(v: Ptr[Vcpu], map_: Ptr[Tainted[abi.xen_memory_map]]) -> Result[None]:
    """Copy the caller's own memory map, as its builder set it.

    Errors: -EFAULT; -ENOSYS, it was not set.
    """
    d = v.domain
    page = d.memory_map
    require(page is not None and d.nr_memory_map != 0, -abi.ENOSYS)
    count = min(map_.nr_entries, d.nr_memory_map)
    map_.nr_entries = count
    # The core page that `store_map` filled
    entries = Slice[Tainted[abi.e820entry]](Ptr[Tainted[abi.e820entry]](u64(page)), u64(count))
    require(copy_slice_to_guest(Guest[abi.e820entry](map_.buffer), entries), -abi.EFAULT)


@memory_op(abi.XENMEM_set_memory_map)
def memory_set_memory_map(v: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_foreign_memory_map]]) -> i64:
    """Set the memory map of a domain that is being built.

    Errors: -EINVAL, more entries than any map has, or it is dying; -ESRCH; -EPERM; -ENOMEM, no
    memory for so many.
    """
    require(op.map.nr_entries <= XEN_MAX_E820, -abi.EINVAL)
    with ok(get_subject(v, op.domid)) as d:
        return store_map(d, ref(op.map))


def store_map(d: Ptr[Domain], map_: Ptr[Tainted[abi.xen_memory_map]]) -> Result[None]:
    """Take over a domain's memory map from the caller.

    Errors: -ENOMEM; -EFAULT, with the old map unchanged; -EINVAL, the domain is dying.
    """
    count = map_.nr_entries
    require(count <= MAX_E820, -abi.ENOMEM)
    page = uninitialized(Tainted[Array[u8, 4096]])
    size = u64(count) * sizeof(abi.e820entry)
    require(copy_slice_from_guest(page[0:size], Guest[u8](map_.buffer)), -abi.EFAULT)
    with d.page_lock:
        # A dying one's `relinquish_memory` may have freed the old one already.
        require(d.is_dying == DOMDYING_alive, -abi.EINVAL)
        to = d.memory_map if d.memory_map is not None else alloc_core_page()
        require(to is not None, -abi.ENOMEM)
        store(Ptr[Tainted[Array[u8, 4096]]](u64(to)), page)
        d.memory_map = to
        d.nr_memory_map = count


@memory_op(abi.XENMEM_machphys_mapping)
def memory_machphys_mapping(to: Guest[abi.xen_machphys_mapping]) -> Result[None]:
    """Tell where a guest sees the machine-to-physical table. Errors: -EFAULT."""
    mapping = abi.xen_machphys_mapping(
        v_start=MACH2PHYS_VIRT_START, v_end=MACH2PHYS_VIRT_END, max_mfn=max_page - 1
    )
    require(copy_to_guest(to, ref(mapping)), -abi.EFAULT)


@memory_op(abi.XENMEM_machphys_mfn_list, result=True)
def memory_machphys_mfn_list(op: Ptr[Tainted[abi.xen_machphys_mfn_list]]) -> Result[None]:
    """List the first frames of the machine-to-physical table's pieces of 2 MiB; 0 where it has a
    hole.

    Errors: -EFAULT.
    """
    count = (max_page + FRAMES_PER_EXTENT - 1) // FRAMES_PER_EXTENT
    count = min(u64(op.max_extents), count)
    op.nr_extents = truncate(u32, count)
    for i in range(count):
        mfn = mfn_or_0(m2p_extent(Mfn(i * FRAMES_PER_EXTENT)))
        require(copy_to_guest(op.extent_start.index(i), ref(mfn)), -abi.EFAULT)


@memory_op(abi.XENMEM_machphys_compat_mfn_list)
def memory_machphys_compat_mfn_list() -> i64:
    """Say that there is no table for 32-bit guests. Errors: -EOPNOTSUPP."""
    return -abi.EOPNOTSUPP
