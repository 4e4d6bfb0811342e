"""The last step of a domain's life: freeing what the core kept of it, once nobody holds a
reference.

It runs in the idle loop and before a domain is created, never inside `put_domain`, whose caller may
hold the domain's locks.
"""

import abi
from kpy import Ptr, u32, u64

from kernel.base.ids import Vaddr
from kernel.base.registry import idle
from kernel.domain.perdomain import destroy_perdomain
from kernel.domain.vcpu_context import arch_free_vcpu
from kernel.evtchn.close import free_evtchn_table
from kernel.frames.core_page import free_core_page
from kernel.grant.setup import free_grant_table
from kernel.state.domain import Domain, domain_table
from kernel.state.vcpu import Vcpu
from kernel.trace.record import trace_1


@idle
def free_buried_domains() -> None:
    """Free every domain that has lost its last reference. Context: no lock held."""
    if domain_table.buried is None:
        return
    d = take_buried()
    while d is not None:
        free_domain(d)
        d = take_buried()


def take_buried() -> Ptr[Domain] | None:
    """Take one domain from those to be freed."""
    with domain_table.lock:
        d = domain_table.buried
        if d is not None:
            domain_table.buried = d.list_next
        return d


def free_domain(d: Ptr[Domain]) -> None:
    """Free a domain that has no memory and runs no more; or one whose creation failed half way."""
    trace_1(abi.TRC_DOM0_DOM_REM, u32(d.domain_id))
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            free_vcpu(v)
    free_evtchn_table(d)
    free_grant_table(d)
    destroy_perdomain(d)
    free_core_page(Vaddr(u64(d)))


def free_vcpu(v: Ptr[Vcpu]) -> None:
    """Free a vCPU that will never run again."""
    arch_free_vcpu(v)
    if v.xsave_area != 0:
        free_core_page(Vaddr(v.xsave_area))
    free_core_page(Vaddr(u64(v)))
