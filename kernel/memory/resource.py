"""XENMEM_acquire_resource: the frames of another domain's grant table, for the toolstack that
builds it.
"""

import abi
from kpy import Guest, Ptr, Result, Tainted, i64, ok, ref, require, u32, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.ids import DomId
from kernel.grant.setup import grant_frame
from kernel.memory.operations import MAX_EXTENTS, memory_op
from kernel.state.domain import Domain, get_domain_by_id
from kernel.state.vcpu import Vcpu


@memory_op(abi.XENMEM_acquire_resource)
def memory_acquire_resource(
    v: Ptr[Vcpu], arg: Guest[abi.xen_mem_acquire_resource], start: Tainted[u64]
) -> Result[None]:
    """List frames of a resource of another domain, growing it as far as needed; a null list asks
    for its greatest size.

    Errors: -EFAULT; -EINVAL, a field that must be 0, an unknown id, no frames, or some past the
    end; -EOPNOTSUPP, an unknown resource; -EPERM, the caller's own domain or not privileged;
    -ESRCH; -E2BIG, more frames than any resource has.
    """
    request = uninitialized(Tainted[abi.xen_mem_acquire_resource])
    require(copy_from_guest(ref(request), arg), -abi.EFAULT)
    require(request.pad == 0, -abi.EINVAL)
    require(DomId(request.domid) != v.domain.domain_id, -abi.EPERM)
    with get_domain_by_id(DomId(request.domid)) as d:
        require(d is not None, -abi.ESRCH)
        require(v.domain.is_privileged, -abi.EPERM)
        ok(list_resource(d, ref(request), start))
    if request.frame_list.address() == 0:
        require(copy_to_guest(arg, ref(request)), -abi.EFAULT)


def list_resource(
    d: Ptr[Domain], request: Ptr[Tainted[abi.xen_mem_acquire_resource]], start: Tainted[u64]
) -> i64:
    """Copy the frame numbers that are asked for to the caller's list, or note the size.

    Errors: as above.
    """
    require(request.type == abi.XENMEM_resource_grant_table, -abi.EOPNOTSUPP)
    require(request.id == abi.XENMEM_resource_grant_table_id_shared, -abi.EINVAL)
    if request.frame_list.address() == 0:
        require(request.nr_frames == 0 and start == 0, -abi.EINVAL)
        request.nr_frames = d.grant.max_frames
        return 0
    first, nr_frames, most = request.frame, request.nr_frames, u64(d.grant.max_frames)
    require(nr_frames != 0, -abi.EINVAL)
    require(nr_frames <= MAX_EXTENTS, -abi.E2BIG)
    require(first <= most and u64(nr_frames) <= most - first, -abi.EINVAL)
    for i in range(u64(nr_frames)):
        mfn = grant_frame(d, u32(first + i))
        require(mfn is not None, -abi.EINVAL)
        number = u64(mfn)
        require(copy_to_guest(request.frame_list.index(i), ref(number)), -abi.EFAULT)
    return 0
