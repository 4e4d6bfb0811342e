"""update_va_mapping: change the L1 entry that maps an address of the caller, and flush what that
makes stale.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Result,
    Tainted,
    atomic_load,
    bit,
    i64,
    inline,
    ok,
    ref,
    require,
    trusted,
    u64,
)

from kernel.base.guest_memory import copy_from_guest
from kernel.base.registry import hypercall
from kernel.frames.page_owner import PageOwner
from kernel.paging.entry import STORE_PLAIN
from kernel.paging.entry_update import update_l1e
from kernel.paging.foreign import find_page_owner, may_act_on
from kernel.paging.guest_walk import find_l1e
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.ipi import flush_tlb_mask
from kernel.x86.percpu import this_cpu
from kernel.x86.tlb import flush_tlb_local, flush_tlb_one_local


@hypercall(abi.__HYPERVISOR_update_va_mapping)
def do_update_va_mapping(
    v: Ptr[Vcpu], va: Tainted[u64], value: Tainted[u64], flags: Tainted[u64]
) -> i64:
    """Change the L1 entry of address `va` to `value`; the frame must be the caller's.

    Hypercall: update_va_mapping(va: u64, value: l1e, flags: UVMF_*, with the address of a bitmap of
    vCPUs in the bits above).
    Source: Xen public ABI, xen.h.
    Errors: -EINVAL, no L1 table for that address, or bits that are not allowed; -EBUSY, the frame
    belongs to another, or is a page table and would become writable; -EPERM, I/O memory. -EFAULT,
    the bitmap: then the change is made, but nothing flushed.
    """
    owner = PageOwner(domain_id=v.domain.domain_id, domain=v.domain)
    return update_and_flush(v, va, value, flags, ref(owner))


@hypercall(abi.__HYPERVISOR_update_va_mapping_otherdomain)
def do_update_va_mapping_otherdomain(
    v: Ptr[Vcpu],
    va: Tainted[u64],
    value: Tainted[u64],
    flags: Tainted[u64],
    domid: Tainted[u64],
) -> i64:
    """Do the same for a frame of another domain.

    Errors: as before; -ESRCH, no such domain; -EPERM, it is not the caller's to map.
    """
    owner = PageOwner()
    ok(find_page_owner(v, domid, ref(owner)))
    with owner:
        require(may_act_on(v.domain, owner.domain_id), -abi.EPERM)
        return update_and_flush(v, va, value, flags, ref(owner))


@inline
def update_and_flush(
    v: Ptr[Vcpu],
    va: Tainted[u64],
    value: Tainted[u64],
    flags: Tainted[u64],
    owner: Ptr[PageOwner],
) -> i64:
    """Change the entry; flush only if that was possible, so `va` is known to be the guest's."""
    with v.domain.page_lock:
        entry = find_l1e(v, va)
        require(entry is not None, -abi.EINVAL)
        result = update_l1e(entry, value, v.domain, owner, STORE_PLAIN)
    if result == 0 and flags & abi.UVMF_FLUSHTYPE_MASK != 0:
        return flush_mapping(v, trusted(va), flags)  # the guest's own address
    return result


def flush_mapping(v: Ptr[Vcpu], va: u64, flags: Tainted[u64]) -> i64:
    """Flush one address, or all, from the processors that UVMF_* flags name.

    Errors: -EINVAL, the flags; -EFAULT, the bitmap.
    """
    where = flags & ~abi.UVMF_FLUSHTYPE_MASK
    is_single = flags & abi.UVMF_FLUSHTYPE_MASK == abi.UVMF_INVLPG
    cpus = bit(u64(this_cpu().id))
    if where == abi.UVMF_ALL:
        cpus = v.domain.dirty_cpumask
    elif flags & abi.UVMF_FLUSHTYPE_MASK == abi.UVMF_FLUSHTYPE_MASK:
        return 0  # neither kind of flush
    elif where != abi.UVMF_LOCAL:
        cpus = ok(cpus_of_vcpus(v.domain, where))
    flush_va(cpus, va, is_single)
    return 0


def flush_va(cpus: u64, va: u64, is_single: bool) -> None:
    """Flush one address, or all of a guest's, from processors.

    Others than this one flush everything: that is one request less to keep.
    """
    if cpus != bit(u64(this_cpu().id)):
        flush_tlb_mask(cpus)
    elif is_single:
        flush_tlb_one_local(va)
    else:
        flush_tlb_local()


def cpus_of_vcpus(d: Ptr[Domain], bitmap: Tainted[u64]) -> Result[u64]:
    """Return the processors on which the vCPUs of a guest's bitmap have translations.

    Errors: -EFAULT, the bitmap.
    """
    wanted: Tainted[u64] = 0
    cpus: u64 = 0
    require(copy_from_guest(ref(wanted), Guest[u64](bitmap)), -abi.EFAULT)
    for i in range(u64(d.max_vcpus)):
        v = d.vcpus[i]
        if v is not None and wanted & bit(i) != 0:
            cpus |= bit(u64(v.processor))
            loaded = atomic_load(ref(v.loaded_cpu))  # once: other processors change it
            if loaded != 0:
                cpus |= bit(u64(loaded) - 1)
    return cpus & d.dirty_cpumask
