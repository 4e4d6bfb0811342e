"""What the scheduler keeps in every vCPU: its place in a run queue, its share, and where its time went."""

import abi
from kpy import Ptr, struct, u32, u64

DEFAULT_WEIGHT = 256


@struct
class SchedUnit:
    """The scheduler's part of a `Vcpu`; guarded by the run-queue lock of `Vcpu.processor`."""

    next: Ptr["kernel.vcpu.Vcpu"] | None  # neighbours in the run queue, by rising virtual_runtime
    previous: Ptr["kernel.vcpu.Vcpu"] | None
    is_queued: bool
    weight: u32
    virtual_runtime: u64  # ns of processor time, scaled by DEFAULT_WEIGHT / weight
    dispatched_at_ns: u64  # start of the part of its run that is not yet charged
    hard_affinity: u64  # physical CPUs that it may use, a bit each
    soft_affinity: u64  # physical CPUs that the toolstack would rather see used
    affinity_before_pin: u64  # hard_affinity to return to after SCHEDOP_pin_override; 0: not pinned
    runstate: abi.vcpu_runstate_info
    runstate_area: u64  # guest address of the guest's copy of `runstate`, 0: none
    time_area: u64  # guest address of the second vcpu_time_info, 0: none
