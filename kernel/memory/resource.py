"""XENMEM_acquire_resource: the frames of another domain's grant table, for the toolstack that
builds it.
"""

import abi
from kpy import Guest, Ptr, i64, ref, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import DomId
from kernel.grant.setup import grant_frame
from kernel.memory.operations import MAX_EXTENTS, memory_op
from kernel.state.domain import Domain, get_domain_by_id, put_domain
from kernel.state.vcpu import Vcpu


@memory_op(abi.XENMEM_acquire_resource)
def memory_acquire_resource(v: Ptr[Vcpu], start: u64, arg: u64) -> i64:
    """List frames of a resource of another domain, growing it as far as needed; a null list asks
    for its greatest size.

    Errors: -EFAULT; -EINVAL, a field that must be 0, an unknown id, no frames, or some past the
    end; -EOPNOTSUPP, an unknown resource; -EPERM, the caller's own domain or not privileged;
    -ESRCH; -E2BIG, more frames than any resource has.
    """
    request = uninitialized(abi.xen_mem_acquire_resource)
    if not copy_from_guest(ref(request), Guest[abi.xen_mem_acquire_resource](arg)):
        return -abi.EFAULT
    if request.pad != 0:
        return -abi.EINVAL
    if DomId(request.domid) == v.domain.domain_id:
        return -abi.EPERM
    d = get_domain_by_id(DomId(request.domid))
    if d is None:
        return -abi.ESRCH
    result = -abi.EPERM
    if v.domain.is_privileged:
        result = list_resource(d, ref(request), start)
        if result == 0 and request.frame_list.address() == 0:
            result = (
                0
                if copy_to_guest(Guest[abi.xen_mem_acquire_resource](arg), ref(request))
                else -abi.EFAULT
            )
    put_domain(d)
    return result


def list_resource(d: Ptr[Domain], request: Ptr[abi.xen_mem_acquire_resource], start: u64) -> i64:
    """Copy the frame numbers that are asked for to the caller's list, or note the size.

    Errors: as above.
    """
    if request.type != abi.XENMEM_resource_grant_table:
        return -abi.EOPNOTSUPP
    is_known = request.id == abi.XENMEM_resource_grant_table_id_shared
    if not is_known or d.grant.max_frames == 0:
        return -abi.EINVAL
    if request.frame_list.address() == 0:
        if request.nr_frames != 0 or start != 0:
            return -abi.EINVAL
        request.nr_frames = d.grant.max_frames
        return 0
    if request.nr_frames == 0:
        return -abi.EINVAL
    if request.nr_frames > MAX_EXTENTS:
        return -abi.E2BIG
    if (
        request.frame > u64(d.grant.max_frames)
        or u64(request.nr_frames) > u64(d.grant.max_frames) - request.frame
    ):
        return -abi.EINVAL
    for i in range(u64(request.nr_frames)):
        mfn = grant_frame(d, u32(request.frame + i))
        require(mfn is not None, -abi.EINVAL)
        number = u64(mfn)
        if not copy_to_guest(request.frame_list.index(i), ref(number)):
            return -abi.EFAULT
    return 0
