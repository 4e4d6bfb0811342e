"""Two domains that never rest share one processor: how long each of their turns was.

As dom0's kernel. It makes the two, sleeps while they run, and prints one line a turn, in the order
of time: `turn N: child C, T us`.
"""

import abi
from kpy import Array, Ptr, Slice, export, extern, load, ref, static, u8, u64

from libos.console import say
from libos.hypercall import hypercall
from libos.time import system_time_ns
from tests.guests.kernels.child import Child, create_child, domctl
from tests.guests.kernels.report import check, expect, verdict

NR_CHILDREN = 2
RUN_NS = 400_000_000
GAP_TICKS = 50_000  # 50 us: no interrupt of the core's takes so long
TICKS_PER_US = 1000
TURN_BYTES = 16
FIRST_TURN = 2  # what came before was without a rival
NEVER = (1 << 64) - 1

children = static(Array[Child, NR_CHILDREN])
next_turn = static(Array[u64, NR_CHILDREN])


@extern
def spinner() -> None: ...


@extern
def spinner_end() -> None: ...


def sleep_until(time_ns: u64) -> None:
    """Give the processor up, without the periodic timer, which would end turns by waking us."""
    hypercall(abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_stop_periodic_timer, 0, 0, 0, 0)
    poll = abi.sched_poll(timeout=time_ns)
    while system_time_ns() < time_ns:
        hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_poll, u64(ref(poll)), 0, 0, 0)


def nr_turns(child: u64) -> u64:
    return load(Ptr[u64](children[child].data))


def began(child: u64) -> u64:
    """Return when the next turn to print of a child began; NEVER: it had no more."""
    turn = next_turn[child]
    return (
        load(Ptr[u64](children[child].data + turn * TURN_BYTES))
        if turn <= nr_turns(child)
        else NEVER
    )


def ended(child: u64) -> u64:
    return load(Ptr[u64](children[child].data + next_turn[child] * TURN_BYTES + 8))


def print_turns() -> None:
    """Print the turns of both, the earliest first."""
    number: u64 = 0
    while True:
        child: u64 = 0 if began(0) < began(1) else 1
        if began(child) == NEVER:
            return
        say(f"turn {number}: child {child}, {(ended(child) - began(child)) // TICKS_PER_US} us")
        number += 1
        next_turn[child] += 1


@export
def main() -> u64:
    code = Slice[u8](Ptr[u8](u64(spinner)), u64(spinner_end) - u64(spinner))
    for i in range(NR_CHILDREN):
        create_child(ref(children[i]), code, GAP_TICKS)
        next_turn[i] = FIRST_TURN
    for i in range(NR_CHILDREN):
        expect(b"unpause", domctl(abi.XEN_DOMCTL_unpausedomain, children[i].domain), 0)
    sleep_until(system_time_ns() + RUN_NS)
    for i in range(NR_CHILDREN):
        expect(b"pause", domctl(abi.XEN_DOMCTL_pausedomain, children[i].domain), 0)
        check(b"each had turns", nr_turns(i) > FIRST_TURN)
    print_turns()
    return verdict()
