"""When long work should stop half way: as soon as an interrupt waits for this processor.

The core runs with interrupts off. Work that may take longer than about a millisecond asks here
after each bounded step, and if told so saves its progress and returns -ERESTART
(kernel/state/continuation.py); the interrupt is then taken in the guest.
"""

from kernel.x86.apic import apic_pending_vector
from kernel.x86.percpu import this_cpu


def preempt_pending() -> bool:
    """Whether something more urgent waits on this processor."""
    return this_cpu().reschedule or apic_pending_vector() != 0
