"""Memory operations about memory maps: the machine's e820, a domain's, and where the
machine-to-physical table is.
"""

import abi
from kpy import Array, Guest, Ptr, i64, ref, sizeof, store, truncate, u8, u32, u64, uninitialized

from kernel.base.guest_memory import (
    copy_bytes_from_guest,
    copy_bytes_to_guest,
    copy_from_guest,
    copy_to_guest,
)
from kernel.base.ids import Mfn
from kernel.frames.core_page import alloc_core_page
from kernel.frames.m2p import m2p_extent
from kernel.memory.operations import memory_op
from kernel.paging.foreign import may_act_on
from kernel.state.domain import Domain, DOMDYING_alive, get_domain_or_self, put_domain
from kernel.state.frame_table import max_page
from kernel.state.vcpu import Vcpu
from kernel.x86 import bootmem
from kernel.x86.memlayout import MACH2PHYS_VIRT_START

MAX_E820 = 4096 // sizeof(abi.e820entry)
XEN_MAX_E820 = 1024
MACH2PHYS_VIRT_END = MACH2PHYS_VIRT_START + (1 << 38)
FRAMES_PER_EXTENT = 1 << 18  # whose numbers fill 2 MiB of the machine-to-physical table


@memory_op(abi.XENMEM_machine_memory_map)
def memory_machine_memory_map(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Copy the machine's memory map to domain 0; a null buffer asks for the number of entries.

    Errors: -EPERM, not privileged; -EFAULT; -EINVAL, too little room.
    """
    if not v.domain.is_privileged:
        return -abi.EPERM
    map_ = uninitialized(abi.xen_memory_map)
    if not copy_from_guest(ref(map_), Guest[abi.xen_memory_map](arg)):
        return -abi.EFAULT
    if map_.buffer != 0:
        if u64(map_.nr_entries) < bootmem.nr_regions:
            return -abi.EINVAL
        if not copy_machine_map(Guest[abi.e820entry](map_.buffer)):
            return -abi.EFAULT
    map_.nr_entries = truncate(u32, bootmem.nr_regions)
    return 0 if copy_to_guest(Guest[abi.xen_memory_map](arg), ref(map_)) else -abi.EFAULT


def copy_machine_map(to: Guest[abi.e820entry]) -> bool:
    """Copy the machine's memory map to a guest. Returns: whether it could be written."""
    for i in range(bootmem.nr_regions):
        region = ref(bootmem.memory_map[i])
        entry = abi.e820entry(addr=region.start, size=region.end - region.start, type=region.kind)
        if not copy_to_guest(to.index(i), ref(entry)):
            return False
    return True


@memory_op(abi.XENMEM_memory_map)
def memory_memory_map(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Copy the caller's own memory map, as its builder set it.

    Errors: -EFAULT; -ENOSYS, it was not set.
    """
    d = v.domain
    map_ = uninitialized(abi.xen_memory_map)
    if not copy_from_guest(ref(map_), Guest[abi.xen_memory_map](arg)):
        return -abi.EFAULT
    if d.nr_memory_map == 0:
        return -abi.ENOSYS
    map_.nr_entries = min(map_.nr_entries, d.nr_memory_map)
    size = u64(map_.nr_entries) * sizeof(abi.e820entry)
    if copy_bytes_to_guest(map_.buffer, u64(d.memory_map), size) != 0:
        return -abi.EFAULT
    return 0 if copy_to_guest(Guest[abi.xen_memory_map](arg), ref(map_)) else -abi.EFAULT


@memory_op(abi.XENMEM_set_memory_map)
def memory_set_memory_map(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Set the memory map of a domain that is being built.

    Errors: -EFAULT; -EINVAL, more entries than any map has, or it is dying; -ESRCH; -EPERM;
    -ENOMEM, no memory for so many.
    """
    request = uninitialized(abi.xen_foreign_memory_map)
    if not copy_from_guest(ref(request), Guest[abi.xen_foreign_memory_map](arg)):
        return -abi.EFAULT
    if request.map.nr_entries > XEN_MAX_E820:
        return -abi.EINVAL
    d = get_domain_or_self(v.domain, request.domid)
    if d is None:
        return -abi.ESRCH
    result = -abi.EPERM
    if may_act_on(v.domain, d.domain_id):
        result = store_map(d, ref(request.map))
    put_domain(d)
    return result


def store_map(d: Ptr[Domain], map_: Ptr[abi.xen_memory_map]) -> i64:
    """Take over a domain's memory map from the caller.

    Errors: -ENOMEM; -EFAULT, with the old map unchanged; -EINVAL, the domain is dying.
    """
    if map_.nr_entries > MAX_E820:
        return -abi.ENOMEM
    page = uninitialized(Array[u8, 4096])
    size = u64(map_.nr_entries) * sizeof(abi.e820entry)
    if copy_bytes_from_guest(u64(ref(page)), map_.buffer, size) != 0:
        return -abi.EFAULT
    with d.page_lock:
        if d.is_dying != DOMDYING_alive:  # relinquish_memory may have freed the old one already
            return -abi.EINVAL
        if u64(d.memory_map) == 0:
            fresh = alloc_core_page()
            require(fresh is not None, -abi.ENOMEM)
            d.memory_map = fresh
        store(Ptr[Array[u8, 4096]](u64(d.memory_map)), page)
        d.nr_memory_map = map_.nr_entries
    return 0


@memory_op(abi.XENMEM_machphys_mapping)
def memory_machphys_mapping(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Tell where a guest sees the machine-to-physical table. Errors: -EFAULT."""
    mapping = abi.xen_machphys_mapping(
        v_start=MACH2PHYS_VIRT_START, v_end=MACH2PHYS_VIRT_END, max_mfn=max_page - 1
    )
    return 0 if copy_to_guest(Guest[abi.xen_machphys_mapping](arg), ref(mapping)) else -abi.EFAULT


@memory_op(abi.XENMEM_machphys_mfn_list)
def memory_machphys_mfn_list(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """List the first frames of the machine-to-physical table's pieces of 2 MiB; 0 where it has a
    hole.

    Errors: -EFAULT.
    """
    list_ = uninitialized(abi.xen_machphys_mfn_list)
    if not copy_from_guest(ref(list_), Guest[abi.xen_machphys_mfn_list](arg)):
        return -abi.EFAULT
    count = (max_page + FRAMES_PER_EXTENT - 1) // FRAMES_PER_EXTENT
    count = min(count, u64(list_.max_extents))
    for i in range(count):
        mfn = u64(m2p_extent(Mfn(i * FRAMES_PER_EXTENT)))
        if not copy_to_guest(list_.extent_start.index(i), ref(mfn)):
            return -abi.EFAULT
    list_.nr_extents = truncate(u32, count)
    return 0 if copy_to_guest(Guest[abi.xen_machphys_mfn_list](arg), ref(list_)) else -abi.EFAULT


@memory_op(abi.XENMEM_machphys_compat_mfn_list)
def memory_machphys_compat_mfn_list(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Say that there is no table for 32-bit guests. Errors: -EOPNOTSUPP."""
    return -abi.EOPNOTSUPP
