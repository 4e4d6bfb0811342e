"""What the scheduler keeps in every vCPU.

Its place in a run queue, its share, and where its time went.
"""

import abi
from kpy import Ptr, Tainted, struct, u64

from kernel.state.vcpu import Vcpu

DEFAULT_WEIGHT = 256


@struct
class SchedUnit:
    """The scheduler's part of a `Vcpu`; guarded by the run queue's lock."""

    next: Ptr[Vcpu] | None  # neighbours in the run queue, by rising virtual_runtime
    previous: Ptr[Vcpu] | None
    is_queued: bool
    virtual_runtime: u64  # ns of processor time, scaled by DEFAULT_WEIGHT / its domain's weight
    gives_way: bool  # does not insist on LEAST_RUN_NS this time: it yields, or must leave its CPU
    dispatched_at_ns: u64  # start of the part of its run that is not yet charged
    affinity: Tainted[u64]  # physical CPUs that it may use, a bit each
    soft_affinity: Tainted[u64]  # those that the toolstack thinks best; told, not heeded
    affinity_before_pin: Tainted[
        u64
    ]  # affinity to return to after SCHEDOP_pin_override; 0: not pinned
    runstate: abi.vcpu_runstate_info
    runstate_area: Tainted[u64]  # guest address of the guest's copy of `runstate`, 0: none
    runstate_stale: bool  # the copy could not be written from guest user mode
