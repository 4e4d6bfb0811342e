"""What is always true of the scheduler and of timers, while no processor executes the core.

Nothing here calls the core: it reads the core's memory.
"""

import abi

from tests.model.layout import every_vcpu
from tests.model.processors import NR_MODEL_CPUS


def check_sched(machine):
    """Check where every vCPU is, and every timer."""
    queue = machine["kernel.sched.queue.run_queue"]
    sched = machine["kernel.sched.place.cpu_scheds"]
    running = {}
    for cpu in range(NR_MODEL_CPUS):
        if sched[cpu].running is not None:
            assert sched[cpu].running not in running, "a vCPU runs on two processors"
            running[sched[cpu].running] = cpu
    queued = check_queue(queue)
    vcpus = every_vcpu(machine)
    known = {int(v) for v in vcpus.values()}
    assert {int(v) for v in [*running, *queued]} <= known, "a vCPU that is gone is still scheduled"
    for name, v in vcpus.items():
        check_vcpu(name, v, running, queued)
    check_work(queue, running, queued)
    check_timers(machine, vcpus)


def check_queue(queue):
    """The list of those that wait is whole, counted, and sorted; return it."""
    found, v, before = [], queue.first, None
    while v is not None:
        assert v.sched.previous == before, "the run queue's links disagree"
        assert v.sched.is_queued, "a vCPU in the run queue does not know it"
        if before is not None:
            assert before.sched.virtual_runtime <= v.sched.virtual_runtime, "not sorted"
        found.append(v)
        assert len(found) <= queue.nr_queued, "the run queue has more vCPUs than it counts"
        before, v = v, v.sched.next
    assert queue.last == before and len(found) == queue.nr_queued, "the run queue's end is wrong"
    return found


def can_run(v):
    """Whether nothing but the lack of a processor keeps a vCPU from running."""
    return not (v.pause_flags or v.pause_count or v.domain.pause_count)


def check_vcpu(name, v, running, queued):
    """A vCPU runs, or waits in the queue, exactly if it can; and is accounted for as what it is."""
    runs, waits = v in running, v in queued
    assert v.is_running == runs, f"{name}: is_running is {v.is_running}"
    assert v.sched.is_queued == waits, f"{name}: is_queued is {v.sched.is_queued}"
    assert not (runs and waits), f"{name} runs and is queued"
    assert can_run(v) == (runs or waits), f"{name}: can run: {can_run(v)}, does: {runs or waits}"
    state = v.sched.runstate.state
    if runs:
        assert v.processor == running[v], f"{name} runs on another processor than it says"
        assert v.sched.affinity >> v.processor & 1, f"{name} runs where it may not"
        assert v.context_loaded, f"{name} runs without its context"
        assert state == abi.RUNSTATE_running, f"{name} runs as {state}"
    elif waits:
        assert state == abi.RUNSTATE_runnable, f"{name} waits as {state}"
    else:
        assert state in (abi.RUNSTATE_blocked, abi.RUNSTATE_offline), f"{name} stands as {state}"


def check_work(queue, running, queued):
    """No processor idles while a vCPU waits that may run there."""
    for cpu in range(NR_MODEL_CPUS):
        if cpu not in running.values():
            assert queue.idle_cpus >> cpu & 1, f"processor {cpu} idles, and nobody knows"
            waiting = [v for v in queued if v.sched.affinity >> cpu & 1]
            assert not waiting, f"processor {cpu} idles while a vCPU waits"


def check_timers(machine, vcpus):
    """Each heap is one; every active timer is in it; and its processor will be interrupted."""
    queues = machine["kernel.sched.timer_heap.queues"]
    cpus = machine["tests.model.processors.cpus"]
    found = {}
    for cpu in range(NR_MODEL_CPUS):
        root = queues[cpu].root
        if root is None:
            continue
        assert root.parent is None, "the first timer has a parent"
        check_heap(cpu, root, found)
        deadline = cpus[cpu].deadline_ns
        assert deadline, f"processor {cpu} has timers and no deadline"
        first = max(root.expires_ns, 1)  # the model's earliest deadline
        assert deadline <= first, f"processor {cpu} wakes too late for its first timer"
    for name, v in vcpus.items():
        for field in ("singleshot_timer", "periodic_timer", "poll_timer"):
            timer = v.ref(field)
            assert timer.is_active == (int(timer) in found), f"{name}: {field} is lost"


def check_heap(cpu, root, found):
    """Walk a heap: no timer is due before its parent."""
    pending = [root]
    while pending:
        timer = pending.pop()
        assert int(timer) not in found, "a timer is in a heap twice"
        found[int(timer)] = cpu
        assert timer.is_active and timer.cpu == cpu, "a timer in a heap does not know it"
        for child in (timer.left, timer.right):
            if child is not None:
                assert child.parent == timer, "a timer does not know its parent"
                assert child.expires_ns >= timer.expires_ns, "a timer is due before its parent"
                pending.append(child)
