"""Ticket locks: `with lock:`. First come, first served, over all processors.

The core runs with interrupts off, so a processor that waits here must still answer others that wait
for it: it serves its mailbox (TLB flushes) between looks at the lock.
"""

from kpy import (
    Ptr,
    atomic_add,
    atomic_load,
    atomic_store,
    inline,
    noinline,
    panic,
    ref,
    struct,
    u32,
    wrapping_add,
)

from kernel.x86.cpu import pause
from kernel.x86.ipi import serve_mailbox
from kernel.x86.percpu import this_cpu


@struct
class SpinLock:
    """Zeroed memory is a free lock."""

    next_ticket: u32
    now_serving: u32
    owner: u32  # the holder's CPU + 1, 0 while free

    @inline
    def __enter__(self) -> None:
        """Take the lock; panics when this processor holds it already."""
        ticket = atomic_add(ref(self.next_ticket), 1)
        if atomic_load(ref(self.now_serving)) != ticket:
            wait_for_turn(self, ticket)
        self.owner = this_cpu().id + 1

    @inline
    def __exit__(self) -> None:
        """Release the lock."""
        self.owner = 0
        atomic_store(ref(self.now_serving), wrapping_add(self.now_serving, 1))

    @inline
    def is_mine(self) -> bool:
        """Whether this processor holds the lock."""
        return self.owner == this_cpu().id + 1


@noinline
def wait_for_turn(lock: Ptr[SpinLock], ticket: u32) -> None:
    """Spin until `ticket` is served."""
    if lock.is_mine():
        panic("deadlock: this processor already holds the lock")
    while atomic_load(ref(lock.now_serving)) != ticket:
        serve_mailbox()
        pause()
