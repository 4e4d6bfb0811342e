"""domctl operations on a domain as a whole: its life, its limits, what it looks like from
outside.
"""

import abi
from kpy import Ptr, Tainted, i64, ok, ref, require, truncate, u32

from kernel.base.ids import DomId
from kernel.base.registry import domctl
from kernel.domain.info import domain_info
from kernel.domain.life import create_domain, domain_kill
from kernel.sched.pause import (
    domain_pause_by_controller,
    domain_resume,
    domain_unpause_by_controller,
)
from kernel.state.domain import Domain, domain_by_id_exists
from kernel.state.domain_table import first_free_domain_id
from kernel.state.vcpu import Vcpu

PAGE_KIB = 4


def createdomain(op: Ptr[Tainted[abi.xen_domctl]]) -> i64:
    """Make an empty, paused domain and tell its id. Serves XEN_DOMCTL_createdomain.

    Errors: -EEXIST, the wanted id is in use; those of `create_domain`.
    """
    domid = op.domain
    if 0 < domid < abi.DOMID_FIRST_RESERVED:
        wanted = DomId(domid)
        require(not domain_by_id_exists(wanted), -abi.EEXIST)
    else:
        wanted = first_free_domain_id()
    ok(create_domain(ref(op.u.createdomain), wanted))
    op.domain = truncate(abi.domid_t, wanted)
    return 0


@domctl(abi.XEN_DOMCTL_destroydomain)
def domctl_destroydomain(caller: Ptr[Vcpu], d: Ptr[Domain]) -> i64:
    """Take everything from a domain; the last reference to it frees the rest.

    Errors: -EINVAL, it is the caller's own. Long: restarts.
    """
    require(caller.domain != d, -abi.EINVAL)  # domain 0, which alone may ask
    return domain_kill(d)


@domctl(abi.XEN_DOMCTL_pausedomain)
def domctl_pausedomain(caller: Ptr[Vcpu], d: Ptr[Domain]) -> i64:
    """Stop all vCPUs of a domain. Returns when none runs any more.

    Errors: -EINVAL, it is the caller's own.
    """
    require(caller.domain != d, -abi.EINVAL)
    return domain_pause_by_controller(d)


@domctl(abi.XEN_DOMCTL_unpausedomain)
def domctl_unpausedomain(d: Ptr[Domain]) -> i64:
    """Undo one pausedomain.

    Errors: -EINVAL, the domain isn't paused by the toolstack.
    """
    return domain_unpause_by_controller(d)


@domctl(abi.XEN_DOMCTL_resumedomain)
def domctl_resumedomain(caller: Ptr[Vcpu], d: Ptr[Domain]) -> i64:
    """Let a domain that has shut down (to be suspended) run on.

    Errors: -EINVAL, it is the caller's own.
    """
    require(caller.domain != d, -abi.EINVAL)
    domain_resume(d)
    return 0


@domctl(abi.XEN_DOMCTL_getdomaininfo, result=True)
def domctl_getdomaininfo(d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl]]) -> i64:
    """Describe a domain: state, memory, CPU time."""
    domain_info(d, ref(op.u.getdomaininfo))
    op.domain = op.u.getdomaininfo.domain
    return 0


@domctl(abi.XEN_DOMCTL_max_mem)
def domctl_max_mem(d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_max_mem]]) -> i64:
    """Set how much memory a domain may own at most, in KiB."""
    nr_frames = min(op.max_memkb // PAGE_KIB, (1 << 32) - 1)
    with d.page_lock:
        d.max_pages = truncate(u32, nr_frames)
    return 0


@domctl(abi.XEN_DOMCTL_setdomainhandle)
def domctl_setdomainhandle(d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_setdomainhandle]]) -> i64:
    """Set the 16 bytes that name a domain to the toolstack: its UUID."""
    for i in range(16):
        d.handle[i] = op.handle[i]
    return 0
