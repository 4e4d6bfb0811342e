"""Cooperative threads: each runs until it waits, and the next one that can run takes over.

A thread waits for an event (its count moves on from what the thread saw), for a time, or for
whichever is first. When nobody can run, the domain sleeps until an event comes. The first thread is
the program's own.
"""

import abi
from kpy import Array, Fn, Never, Ptr, extern, ref, static, store, struct, u32, u64

from libos.event import bind_virq, disable_events, enable_events, event_count
from libos.hypercall import sched_block, set_timer_op
from libos.layout import STACK_BYTES
from libos.stack import MAX_STACKS, new_stack
from libos.time import system_time_ns

MAX_THREADS = MAX_STACKS
SAVED_REGISTERS = 6  # what switch_stacks pops
NO_PORT = 0  # port 0 is never given out
FOREVER = 0xFFFF_FFFF_FFFF_FFFF


@struct
class Thread:
    """In use when `is_alive`; runnable when `port` is NO_PORT and `deadline_ns` 0, or what it waits
    for has come.
    """

    stack_pointer: u64
    stack: u64
    body: Fn[[], None] | None
    is_alive: bool
    port: u32
    seen: u64
    deadline_ns: u64


threads = static(Array[Thread, MAX_THREADS])
current = static(u64)
timer_port = static(u32)


@extern
def switch_stacks(save: Ptr[u64], stack_pointer: u64) -> None: ...


def init_threads() -> None:
    global timer_port
    threads[0].is_alive = True
    timer_port = bind_virq(abi.VIRQ_TIMER)


def start_thread(body: Fn[[], None]) -> None:
    """Make a thread that runs `body`; it begins when the caller waits. Panics when there are
    MAX_THREADS.
    """
    index: u64 = 1
    while threads[index].is_alive:
        index += 1
    thread = ref(threads[index])
    if thread.stack == 0:
        thread.stack = new_stack(index)
    # As if begin_thread had been called, and had called switch_stacks: its address, and above it a
    # zero that ends backtraces.
    top = thread.stack + STACK_BYTES - 16
    store(Ptr[u64](top + 8), 0)
    store(Ptr[u64](top), u64(begin_thread))
    for i in range(SAVED_REGISTERS):
        store(Ptr[u64](top - 8 * (i + 1)), 0)
    thread.stack_pointer = top - 8 * SAVED_REGISTERS
    thread.body = body
    stop_waiting(thread)
    thread.is_alive = True


def begin_thread() -> Never:
    """The first function on a thread's stack."""
    body = threads[current].body
    assert body is not None
    body()
    threads[current].is_alive = False
    schedule()
    while True:
        pass


def yield_now() -> None:
    """Let every other thread that can run go first."""
    schedule()


def wait_event(port: u32, seen: u64, deadline_ns: u64) -> bool:
    """Sleep until the port's count differs from `seen`, or until a time (FOREVER: no limit).

    Returns: False when the time came first.
    """
    thread = ref(threads[current])
    thread.port, thread.seen, thread.deadline_ns = port, seen, deadline_ns
    schedule()
    stop_waiting(thread)
    return event_count(port) != seen


def sleep_ns(duration_ns: u64) -> None:
    thread = ref(threads[current])
    thread.deadline_ns = system_time_ns() + duration_ns
    schedule()
    stop_waiting(thread)


def stop_waiting(thread: Ptr[Thread]) -> None:
    thread.port = NO_PORT
    thread.deadline_ns = 0


def can_run(thread: Ptr[Thread]) -> bool:
    if not thread.is_alive:
        return False
    if thread.port != NO_PORT and event_count(thread.port) != thread.seen:
        return True
    if thread.deadline_ns != 0:
        return system_time_ns() >= thread.deadline_ns
    return thread.port == NO_PORT


def schedule() -> None:
    """Switch to the next thread that can run; the domain sleeps while there is none."""
    while True:
        # Events are held back between the look and the sleep: sched_block lets them in, in one step
        # with going to sleep.
        disable_events()
        for i in range(MAX_THREADS):
            index = (current + 1 + i) % MAX_THREADS
            if can_run(ref(threads[index])):
                enable_events()
                switch_to(index)
                return
        set_timer_op(earliest_deadline_ns())
        sched_block()


def switch_to(index: u64) -> None:
    global current
    if index == current:
        return
    previous = ref(threads[current])
    current = index
    switch_stacks(ref(previous.stack_pointer), threads[index].stack_pointer)


def earliest_deadline_ns() -> u64:
    """When somebody wants to wake up without an event; 0 stops the timer."""
    earliest: u64 = FOREVER
    for thread in threads:
        if thread.is_alive and thread.deadline_ns != 0:
            earliest = min(earliest, thread.deadline_ns)
    return 0 if earliest == FOREVER else earliest
