"""domctl operations on what a domain sees of memory and time: hypercall page, address size, TSC
mode, NUMA nodes.
"""

import abi
from kpy import (
    Ptr,
    Tainted,
    i64,
    ok,
    ref,
    require,
    truncate,
    trusted,
    u32,
)

from kernel.base.guest_bitmap import read_bitmap
from kernel.base.ids import Mfn
from kernel.base.registry import domctl
from kernel.frames.frame import get_frame, put_frame
from kernel.frames.page_type import PGT_writable_page, get_frame_and_type, put_frame_and_type
from kernel.state.domain import Domain
from kernel.x86.hypercall_page import fill_hypercall_page
from kernel.x86.memlayout import mfn_to_vaddr
from kernel.x86.tsc import tsc_khz


class modes:
    """Values of `tsc_mode`; the public headers describe, but don't name them (xl.cfg's
    tsc_mode).
    """

    DEFAULT = 0
    ALWAYS_EMULATE = 1
    NEVER_EMULATE = 2


@domctl(abi.XEN_DOMCTL_hypercall_init)
def domctl_hypercall_init(d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_hypercall_init]]) -> i64:
    """Fill a frame of a domain with the 64 entries through which its kernel makes hypercalls.

    Errors: -EINVAL, the frame isn't the domain's; -EPERM, it is a page table.
    """
    mfn = Mfn(trusted(op.gmfn))  # get_frame takes any number
    require(get_frame(mfn, d), -abi.EINVAL)
    is_writable = get_frame_and_type(mfn, d, PGT_writable_page)
    put_frame(mfn)
    require(is_writable, -abi.EPERM)
    fill_hypercall_page(mfn_to_vaddr(mfn))
    put_frame_and_type(mfn)
    return 0


@domctl(abi.XEN_DOMCTL_set_address_size)
def domctl_set_address_size(op: Ptr[Tainted[abi.xen_domctl_address_size]]) -> i64:
    """Accept 64-bit guests.

    Errors: -EOPNOTSUPP, 32-bit guests are not built in; -EINVAL, another size.
    """
    match op.size:
        case 64:
            return 0
        case 32:
            return -abi.EOPNOTSUPP
        case _:
            return -abi.EINVAL


@domctl(abi.XEN_DOMCTL_get_address_size, result=True)
def domctl_get_address_size(op: Ptr[Tainted[abi.xen_domctl_address_size]]) -> i64:
    """Tell that a guest has 64-bit addresses."""
    op.size = 64
    return 0


@domctl(abi.XEN_DOMCTL_gettscinfo, result=True)
def domctl_gettscinfo(info: Ptr[Tainted[abi.xen_domctl_tsc_info]]) -> i64:
    """Describe the time-stamp counter of a domain: always the processor's own, never emulated."""
    info.tsc_mode = modes.NEVER_EMULATE
    info.gtsc_khz = truncate(u32, tsc_khz)
    info.incarnation = 0
    info.elapsed_nsec = 0
    return 0


@domctl(abi.XEN_DOMCTL_settscinfo)
def domctl_settscinfo(op: Ptr[Tainted[abi.xen_domctl_tsc_info]]) -> i64:
    """Accept the TSC modes that the processor's own counter satisfies.

    Errors: -EOPNOTSUPP, always-emulate is wanted; -EINVAL, an unknown mode.
    """
    match op.tsc_mode:
        case modes.DEFAULT | modes.NEVER_EMULATE:
            return 0
        case modes.ALWAYS_EMULATE:
            return -abi.EOPNOTSUPP
        case _:
            return -abi.EINVAL


@domctl(abi.XEN_DOMCTL_setnodeaffinity)
def domctl_setnodeaffinity(op: Ptr[Tainted[abi.xen_domctl_nodeaffinity]]) -> i64:
    """Accept any NUMA node mask that names node 0, the only node.

    Errors: -EFAULT, the mask; -EINVAL, node 0 isn't in it.
    """
    nodes = ok(read_bitmap(ref(op.nodemap)))
    require(nodes & 1 != 0, -abi.EINVAL)
    return 0
