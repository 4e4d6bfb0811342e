"""Memory operations that only answer a question, or claim memory by arithmetic."""

import abi
from kpy import Ptr, Result, Tainted, gives_back, i64, load, ok, require, u16

from kernel.base.ids import DomId
from kernel.frames.claims import set_claim
from kernel.frames.frame import get_frame, put_frame
from kernel.memory.operations import memory_op
from kernel.paging.foreign import may_act_on
from kernel.state.domain import Domain, get_domain_by_id, get_domain_or_self, put_domain
from kernel.state.frame_table import max_page
from kernel.state.vcpu import Vcpu


@memory_op(abi.XENMEM_maximum_ram_page, whole=True)
def memory_maximum_ram_page() -> i64:
    """Tell how many frames the machine's RAM extends to."""
    return i64(max_page)


@memory_op(abi.XENMEM_current_reservation, whole=True)
def memory_current_reservation(v: Ptr[Vcpu], domid: Ptr[Tainted[u16]]) -> i64:
    """Tell how many frames a domain owns. Errors: as `get_subject`."""
    with ok(get_subject(v, load(domid))) as d:
        return i64(d.tot_pages)


@memory_op(abi.XENMEM_maximum_reservation, whole=True)
def memory_maximum_reservation(v: Ptr[Vcpu], domid: Ptr[Tainted[u16]]) -> i64:
    """Tell how many frames a domain may own. Errors: as `get_subject`."""
    with ok(get_subject(v, load(domid))) as d:
        return i64(d.max_pages)


@memory_op(abi.XENMEM_maximum_gpfn, whole=True)
def memory_maximum_gpfn(v: Ptr[Vcpu], domid: Ptr[Tainted[u16]]) -> i64:
    """Tell the highest page number that a domain says it uses, in its shared_info.

    Errors: as `get_subject`.
    """
    with ok(get_subject(v, load(domid))) as d:
        return highest_page(d)


def highest_page(d: Ptr[Domain]) -> i64:
    """Return the highest page number of a domain by its shared_info, 0 when that is gone: a dying
    domain's, which nobody maps any more.
    """
    mfn = d.shared_info_mfn
    require(mfn is not None and get_frame(mfn, d), 0)
    result = i64(max(d.shared_info.arch.max_pfn & (1 << 52) - 1, 1)) - 1
    put_frame(mfn)
    return result


@gives_back(put_domain)
def get_subject(v: Ptr[Vcpu], domid: Tainted[u16]) -> Result[Ptr[Domain]]:
    """Return a domain that the caller may ask about, with a reference.

    Errors: -ESRCH, no such domain; -EPERM, not the caller's to ask.
    """
    d = get_domain_or_self(v.domain, domid)
    require(d is not None, -abi.ESRCH)
    if not may_act_on(v.domain, d.domain_id):
        put_domain(d)  # what would have been the caller's
        return -abi.EPERM
    return d


@memory_op(abi.XENMEM_get_sharing_freed_pages)
def memory_get_sharing_freed_pages() -> i64:
    """Tell how many frames were saved by sharing: none, frames are never shared."""
    return 0


@memory_op(abi.XENMEM_get_sharing_shared_pages)
def memory_get_sharing_shared_pages() -> i64:
    """Tell how many frames are shared: none."""
    return 0


@memory_op(abi.XENMEM_claim_pages, whole=True)
def memory_claim_pages(v: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_memory_reservation]]) -> i64:
    """Promise memory to a domain.

    Errors: -EINVAL, fields that must be 0, no such domain, or as `set_claim`; -EPERM, the caller
    isn't privileged; -ENOMEM.
    """
    require(op.extent_start.address() == 0, -abi.EINVAL)
    require(op.extent_order == 0 and op.mem_flags == 0, -abi.EINVAL)
    with get_domain_by_id(DomId(op.domid)) as d:
        require(d is not None, -abi.EINVAL)
        require(v.domain.is_privileged, -abi.EPERM)
        return set_claim(d, op.nr_extents)


@memory_op(abi.XENMEM_get_vnumainfo)
def memory_get_vnumainfo(v: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_vnuma_topology_info]]) -> i64:
    """Say that a domain has no virtual NUMA.

    Errors: -EINVAL, a field that must be 0; those of `get_subject`; else -EOPNOTSUPP.
    """
    require(op.pad == 0, -abi.EINVAL)
    with ok(get_subject(v, op.domid)):
        return -abi.EOPNOTSUPP


@memory_op(abi.XENMEM_add_to_physmap)
def memory_add_to_physmap(v: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_add_to_physmap]]) -> i64:
    """Refuse to place a page in a domain's physical memory: a PV domain keeps that map by itself.

    Errors: -ENOSYS, a foreign frame; -ESRCH; else -EACCES.
    """
    require(op.space != abi.XENMAPSPACE_gmfn_foreign, -abi.ENOSYS)
    with get_domain_or_self(v.domain, op.domid) as d:
        require(d is not None, -abi.ESRCH)
    return -abi.EACCES


@memory_op(abi.XENMEM_remove_from_physmap, whole=True)
def memory_remove_from_physmap(v: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_remove_from_physmap]]) -> i64:
    """Refuse to take a page out of a domain's physical memory, as `memory_add_to_physmap`.

    Errors: -ESRCH; else -EACCES.
    """
    with get_domain_or_self(v.domain, op.domid) as d:
        require(d is not None, -abi.ESRCH)
    return -abi.EACCES


@memory_op(abi.XENMEM_set_pod_target)
def memory_set_pod_target(v: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_pod_target]]) -> i64:
    """Refuse to populate on demand: PV domains never do. Errors: -ESRCH; else -EINVAL."""
    with get_domain_or_self(v.domain, op.domid) as d:
        require(d is not None, -abi.ESRCH)
    return -abi.EINVAL


@memory_op(abi.XENMEM_get_pod_target)
def memory_get_pod_target(v: Ptr[Vcpu], op: Ptr[Tainted[abi.xen_pod_target]]) -> i64:
    """Refuse to tell about populating on demand. Errors: as `memory_set_pod_target`."""
    return memory_set_pod_target(v, op)
