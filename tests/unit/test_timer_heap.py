"""The timer heap against a sorted list."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

from kernel.state.timer import Timer
from kernel.x86.percpu import Pcpu

NR_TIMERS = 12


@pytest.fixture(scope="module")
def program():
    """The compiled heap, with a clock that the test sets."""
    clock = {"now": 0, "deadline": None}
    p = jit.load(
        "kernel.sched.timer_heap",
        replace={
            "kernel.x86.percpu.this_cpu": lambda: p.cpu,
            "kernel.x86.tsc.system_time_ns": lambda: clock["now"],
            "kernel.x86.apic.apic_set_timer_deadline": lambda ns: clock.update(deadline=ns),
            "kernel.x86.ipi.serve_mailbox": lambda: None,
        },
    )
    p.cpu = p.new(Pcpu, id=0)
    p.clock = clock
    return p


def drain(program, queue):
    """Take all timers out in the order in which they come due."""
    order = []
    timer = program.next_due(queue, (1 << 64) - 1)
    while timer is not None:
        order.append(timer.address)
        timer = program.next_due(queue, (1 << 64) - 1)
    return order


steps = st.lists(st.tuples(st.integers(0, NR_TIMERS - 1), st.integers(0, 50)), max_size=80)


@settings(max_examples=150, deadline=None)
@given(steps=steps)
def test_comes_due_in_order(program, steps):
    """Timers are set, set anew and stopped (time 0) at will; what is left comes out by expiry."""
    program.queues[0].root = None
    timers = [program.new(Timer) for _ in range(NR_TIMERS)]
    model = {}
    for index, expires in steps:
        if expires == 0:
            program.stop_timer(timers[index])
            model.pop(index, None)
        else:
            program.set_timer(timers[index], expires)
            model[index] = expires
    assert {i for i in range(NR_TIMERS) if timers[i].is_active} == set(model)
    by_address = {timer.address: i for i, timer in enumerate(timers)}
    order = [by_address[address] for address in drain(program, program.queues[0])]
    assert sorted(order) == sorted(model)
    assert [model[i] for i in order] == sorted(model.values())
    assert not any(timer.is_active for timer in timers)


def test_hardware_follows_the_earliest(program):
    """Only a new earliest timer is told to the hardware; one that is not due yet is told again."""
    program.queues[0].root = None
    first, second = program.new(Timer), program.new(Timer)
    program.set_timer(first, 1000)
    assert program.clock["deadline"] == 1000
    program.set_timer(second, 2000)
    assert program.clock["deadline"] == 1000
    program.stop_timer(first)
    program.clock["now"] = 1500
    program.timer_interrupt()
    assert program.clock["deadline"] == 2000


def test_queue_of_another_cpu(program):
    """A timer is stopped where it was set, not where the caller runs."""
    program.queues[0].root = None
    timer = program.new(Timer)
    program.set_timer(timer, 10)
    program.cpu.id = 1
    program.stop_timer(timer)
    program.cpu.id = 0
    assert program.queues[0].root is None and not timer.is_active
