"""Tracing of what runs where."""

import abi
from kpy import Ptr, cold, inline, u32

from kernel.state.trace_ring import HEADER_1, HEADER_4
from kernel.state.vcpu import Vcpu
from kernel.trace.record import record_1, record_4
from kernel.x86.percpu import this_cpu


@cold
def record_runstate_change(v: Ptr[Vcpu], before: u32, after: u32) -> None:
    """Record that a vCPU leaves one RUNSTATE_* for another."""
    event = abi.TRC_SCHED_RUNSTATE_CHANGE | HEADER_1 | before << 8 | after << 4
    record_1(event, v.vcpu_id | u32(v.domain.domain_id) << 16)


@cold
def record_switch(before: Ptr[Vcpu] | None, after: Ptr[Vcpu] | None) -> None:
    """Record that this processor goes from one vCPU, or None for idling, to another."""
    domain_before, vcpu_before = described(before)
    domain_after, vcpu_after = described(after)
    event = u32(abi.TRC_SCHED_SWITCH | HEADER_4)
    record_4(event, domain_before, vcpu_before, domain_after, vcpu_after)


@inline
def described(v: Ptr[Vcpu] | None) -> tuple[u32, u32]:
    """Return the domain and number of a vCPU; for None those of the idle domain's vCPU here."""
    if v is None:
        return abi.DOMID_IDLE, this_cpu().id
    return u32(v.domain.domain_id), v.vcpu_id
