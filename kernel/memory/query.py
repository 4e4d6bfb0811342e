"""Memory operations that only answer a question, or claim memory by arithmetic."""

import abi
from kpy import Guest, Ptr, i64, noinline, ref, require, u16, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest
from kernel.base.ids import DomId
from kernel.frames.claims import set_claim
from kernel.frames.frame import get_frame, put_frame
from kernel.memory.operations import memory_op
from kernel.paging.foreign import may_act_on
from kernel.state.domain import Domain, get_domain_by_id, get_domain_or_self, put_domain
from kernel.state.frame_table import max_page
from kernel.state.vcpu import Vcpu

RESERVATION = 0
LIMIT = 1
GPFN = 2


@memory_op(abi.XENMEM_maximum_ram_page)
def memory_maximum_ram_page(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Tell how many frames the machine's RAM extends to.

    Errors: -EINVAL, an extent in the command.
    """
    return i64(max_page) if start == 0 else -abi.EINVAL


@memory_op(abi.XENMEM_current_reservation)
def memory_current_reservation(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Tell how many frames a domain owns. Errors: as `answer`."""
    return answer(v, start, arg, RESERVATION)


@memory_op(abi.XENMEM_maximum_reservation)
def memory_maximum_reservation(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Tell how many frames a domain may own. Errors: as `answer`."""
    return answer(v, start, arg, LIMIT)


@memory_op(abi.XENMEM_maximum_gpfn)
def memory_maximum_gpfn(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Tell the highest page number that a domain says it uses, in its shared_info.

    Errors: as `answer`.
    """
    return answer(v, start, arg, GPFN)


@noinline
def answer(v: Ptr[Vcpu], start: u64, arg: u64, what: u64) -> i64:
    """Answer a question about a domain named by a structure of its id alone.

    Errors: -EINVAL, an extent in the command; -EFAULT; -ESRCH, no such domain; -EPERM, not the
    caller's to ask.
    """
    domid: u16 = 0
    if start != 0:
        return -abi.EINVAL
    if not copy_from_guest(ref(domid), Guest[u16](arg)):
        return -abi.EFAULT
    d = get_domain_or_self(v.domain, domid)
    if d is None:
        return -abi.ESRCH
    result = -abi.EPERM
    if may_act_on(v.domain, d.domain_id):
        if what == RESERVATION:
            result = i64(d.tot_pages)
        elif what == LIMIT:
            result = i64(d.max_pages)
        else:
            result = highest_page(d)
    put_domain(d)
    return result


def highest_page(d: Ptr[Domain]) -> i64:
    """Return the highest page number of a domain by its shared_info, 0 when that is gone: a dying
    domain's, which nobody maps any more.
    """
    mfn = d.shared_info_mfn
    if not get_frame(mfn, d):
        return 0
    result = i64(max(d.shared_info.arch.max_pfn & (1 << 52) - 1, 1)) - 1
    put_frame(mfn)
    return result


@memory_op(abi.XENMEM_get_sharing_freed_pages)
def memory_get_sharing_freed_pages(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Tell how many frames were saved by sharing: none, frames are never shared."""
    return 0


@memory_op(abi.XENMEM_get_sharing_shared_pages)
def memory_get_sharing_shared_pages(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Tell how many frames are shared: none."""
    return 0


@memory_op(abi.XENMEM_claim_pages)
def memory_claim_pages(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Promise memory to a domain.

    Errors: -EINVAL, fields that must be 0, no such domain, or as `set_claim`; -EFAULT; -EPERM, the
    caller isn't privileged; -ENOMEM.
    """
    request = uninitialized(abi.xen_memory_reservation)
    if start != 0:
        return -abi.EINVAL
    if not copy_from_guest(ref(request), Guest[abi.xen_memory_reservation](arg)):
        return -abi.EFAULT
    if request.extent_start.address() != 0 or request.extent_order != 0 or request.mem_flags != 0:
        return -abi.EINVAL
    d = get_domain_by_id(DomId(request.domid))
    if d is None:
        return -abi.EINVAL
    result = set_claim(d, request.nr_extents) if v.domain.is_privileged else -abi.EPERM
    put_domain(d)
    return result


@memory_op(abi.XENMEM_get_vnumainfo)
def memory_get_vnumainfo(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Say that a domain has no virtual NUMA. Errors: -EFAULT; -ESRCH; -EPERM; else -EOPNOTSUPP."""
    request = uninitialized(abi.xen_vnuma_topology_info)
    if not copy_from_guest(ref(request), Guest[abi.xen_vnuma_topology_info](arg)):
        return -abi.EFAULT
    if request.pad != 0:
        return -abi.EINVAL
    return refuse(v, request.domid, -abi.EOPNOTSUPP)


@memory_op(abi.XENMEM_add_to_physmap)
def memory_add_to_physmap(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Refuse to place a page in a domain's physical memory: a PV domain keeps that map by itself.

    Errors: -EFAULT; -ENOSYS, a foreign frame; -ESRCH; else -EACCES.
    """
    request = uninitialized(abi.xen_add_to_physmap)
    if not copy_from_guest(ref(request), Guest[abi.xen_add_to_physmap](arg)):
        return -abi.EFAULT
    if request.space == abi.XENMAPSPACE_gmfn_foreign:
        return -abi.ENOSYS
    d = get_domain_or_self(v.domain, request.domid)
    if d is None:
        return -abi.ESRCH
    put_domain(d)
    return -abi.EACCES


@memory_op(abi.XENMEM_remove_from_physmap)
def memory_remove_from_physmap(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Refuse to take a page out of a domain's physical memory, as `memory_add_to_physmap`.

    Errors: -EINVAL, an extent in the command; -EFAULT; -ESRCH; else -EACCES.
    """
    request = uninitialized(abi.xen_remove_from_physmap)
    if start != 0:
        return -abi.EINVAL
    if not copy_from_guest(ref(request), Guest[abi.xen_remove_from_physmap](arg)):
        return -abi.EFAULT
    d = get_domain_or_self(v.domain, request.domid)
    if d is None:
        return -abi.ESRCH
    put_domain(d)
    return -abi.EACCES


def refuse(v: Ptr[Vcpu], domid: u16, refusal: i64) -> i64:
    """Return `refusal` for a domain that exists and is the caller's to act on.

    Errors: -ESRCH, -EPERM otherwise.
    """
    with get_domain_or_self(v.domain, domid) as d:
        require(d is not None, -abi.ESRCH)
        return refusal if may_act_on(v.domain, d.domain_id) else -abi.EPERM


@memory_op(abi.XENMEM_set_pod_target)
def memory_set_pod_target(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Refuse to populate on demand. Errors: as `refuse_pod`."""
    return refuse_pod(v, arg)


@memory_op(abi.XENMEM_get_pod_target)
def memory_get_pod_target(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """Refuse to tell about populating on demand. Errors: as `refuse_pod`."""
    return refuse_pod(v, arg)


def refuse_pod(v: Ptr[Vcpu], arg: u64) -> i64:
    """Say that PV domains have no memory that is populated on demand.

    Errors: -EFAULT; -ESRCH; else -EINVAL.
    """
    request = uninitialized(abi.xen_pod_target)
    if not copy_from_guest(ref(request), Guest[abi.xen_pod_target](arg)):
        return -abi.EFAULT
    d = get_domain_or_self(v.domain, request.domid)
    if d is None:
        return -abi.ESRCH
    put_domain(d)
    return -abi.EINVAL
