"""Timers: the struct that others embed, a node of a per-CPU heap ordered by expiry.

The operations are in `kernel.sched.timer_heap`.
"""

from kpy import Fn, Ptr, struct, u32, u64


@struct
class Timer:
    """One pending or idle timer.

    Zeroed memory is an idle timer; guarded by the queue lock of `cpu`.
    """

    expires_ns: u64  # system time
    function: Fn[[Ptr["Timer"]], None] | None  # runs on `cpu`, the timer idle, no lock held
    left: Ptr["Timer"] | None
    right: Ptr["Timer"] | None
    parent: Ptr["Timer"] | None
    cpu: u32
    is_active: bool
