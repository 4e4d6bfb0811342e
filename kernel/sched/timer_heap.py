"""The pending timers of each physical CPU, and the interrupt that runs the due ones.

A CPU's timers form a skew heap: a binary tree in which no timer is due before its parent, kept
balanced on average by swapping the children along every path that a merge walks. Merging is the
only operation: to insert is to merge with one node, to remove is to put the merged children in the
node's place.

Only the owner of a timer sets and stops it; the queue's lock guards against the CPU on which it is
about to expire.
"""

from kpy import Array, Fn, Ptr, inline, ref, static, struct, u64, volatile_load

from kernel.base.spinlock import SpinLock
from kernel.state.timer import Timer
from kernel.x86.apic import apic_set_timer_deadline
from kernel.x86.cpu import pause
from kernel.x86.ipi import serve_mailbox
from kernel.x86.percpu import NR_CPUS, this_cpu
from kernel.x86.tsc import system_time_ns


@struct(align=64)
class TimerQueue:
    lock: SpinLock
    root: Ptr[Timer] | None
    executing: Ptr[Timer] | None  # taken from the heap, its function not yet over


queues = static(Array[TimerQueue, NR_CPUS])


def init_timer(timer: Ptr[Timer], function: Fn[[Ptr[Timer]], None]) -> None:
    """Prepare an idle timer.

    `function` gets the timer, and finds what embeds it by `container_of`.
    """
    timer.function = function


def set_timer(timer: Ptr[Timer], expires_ns: u64) -> None:
    """Let a timer expire on this CPU at a system time, which may have passed already.

    An earlier setting is forgotten.
    """
    stop_timer(timer)
    cpu = this_cpu().id
    queue = ref(queues[cpu])
    with queue.lock:
        timer.expires_ns = expires_ns
        timer.cpu = cpu
        timer.left = None
        timer.right = None
        timer.is_active = True
        set_root(queue, merge(queue.root, timer))
        if queue.root == timer:
            apic_set_timer_deadline(expires_ns)


def stop_timer(timer: Ptr[Timer]) -> None:
    """Make a timer idle. Its function may still be running on another CPU."""
    if not timer.is_active:
        return
    queue = ref(queues[timer.cpu])
    with queue.lock:
        if timer.is_active:
            remove(queue, timer)


def stop_timer_sync(timer: Ptr[Timer]) -> None:
    """Make a timer idle and wait until its function is over: what embeds it can then be freed.

    Context: no lock held that the function may take.
    """
    stop_timer(timer)
    queue = ref(queues[timer.cpu])
    while volatile_load(ref(queue.executing)) == timer:
        serve_mailbox()
        pause()
    stop_timer(timer)  # the function may have set it again


def timer_interrupt() -> None:
    """Run every timer of this CPU that is due, and ask for an interrupt when the next one is.

    Context: the timer interrupt, no lock held.
    """
    queue = ref(queues[this_cpu().id])
    now = system_time_ns()
    timer = next_due(queue, now)
    while timer is not None:
        function = timer.function
        if function is not None:
            function(timer)
        timer = next_due(queue, now)


def next_due(queue: Ptr[TimerQueue], now: u64) -> Ptr[Timer] | None:
    """Take the earliest timer out of the heap if it is due.

    Else set the hardware for it, and return None.
    """
    with queue.lock:
        queue.executing = None
        timer = queue.root
        if timer is None:
            return None
        if timer.expires_ns > now:
            apic_set_timer_deadline(timer.expires_ns)
            return None
        remove(queue, timer)
        queue.executing = timer
        return timer


def remove(queue: Ptr[TimerQueue], timer: Ptr[Timer]) -> None:
    """Take a timer out of its heap. Locks: the queue's, held."""
    timer.is_active = False
    parent = timer.parent
    children = merge(timer.left, timer.right)
    if parent is None:
        set_root(queue, children)
        return
    if children is not None:
        children.parent = parent
    if parent.left == timer:
        parent.left = children
    else:
        parent.right = children


@inline
def set_root(queue: Ptr[TimerQueue], root: Ptr[Timer] | None) -> None:
    """Make `root` the queue's earliest timer."""
    queue.root = root
    if root is not None:
        root.parent = None


def merge(a: Ptr[Timer] | None, b: Ptr[Timer] | None) -> Ptr[Timer] | None:
    """Merge two heaps and return the root of the whole, whose `parent` the caller sets.

    Walks down the right spines in order of expiry; every node on the way has its children swapped,
    which is what keeps the spines short: O(log n) amortised.
    """
    if a is None:
        return b
    if b is None:
        return a
    root = a
    other = b
    if other.expires_ns < root.expires_ns:
        root = b
        other = a
    parent = root
    while True:
        rest = parent.right
        parent.right = parent.left
        if rest is None:
            parent.left = other
            other.parent = parent
            return root
        child = rest
        if other.expires_ns < child.expires_ns:
            child = other
            other = rest
        parent.left = child
        child.parent = parent
        parent = child
