"""Spin locks: `with lock:`. Whoever comes while the lock is free takes it.

There is no queue of waiters on purpose. A processor may be a thread of an emulator whose host gives
it no time just now: a lock that had to be handed to it would stop all others for that long.

The core runs with interrupts off, so a processor that waits here must still answer others that wait
for it: it serves its mailbox (TLB flushes) between looks at the lock.
"""

from kpy import (
    Ptr,
    atomic_cas,
    atomic_load,
    atomic_store,
    inline,
    noinline,
    panic,
    ref,
    struct,
    u32,
)

from kernel.x86.cpu import pause
from kernel.x86.ipi import serve_mailbox
from kernel.x86.percpu import this_cpu


@struct
class SpinLock:
    """Zeroed memory is a free lock."""

    owner: u32  # the holder's CPU + 1, 0 while free

    @inline
    def __enter__(self) -> None:
        """Take the lock; panics when this processor holds it already."""
        me = this_cpu().id + 1
        _, taken = atomic_cas(ref(self.owner), 0, me)
        if not taken:
            wait_for_lock(self, me)

    @inline
    def __exit__(self) -> None:
        """Release the lock."""
        atomic_store(ref(self.owner), 0)

    @inline
    def is_mine(self) -> bool:
        """Whether this processor holds the lock."""
        return self.owner == this_cpu().id + 1


@noinline
def wait_for_lock(lock: Ptr[SpinLock], me: u32) -> None:
    """Spin until the lock is free, and take it."""
    if lock.is_mine():
        panic("deadlock: this processor already holds the lock")
    while True:
        while atomic_load(ref(lock.owner)) != 0:
            serve_mailbox()
            pause()
        _, taken = atomic_cas(ref(lock.owner), 0, me)
        if taken:
            return
