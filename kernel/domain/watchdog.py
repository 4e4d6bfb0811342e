"""Watchdogs (SCHEDOP_watchdog): a guest that does not poke one in time is shut down."""

import abi
from kpy import Ptr, Tainted, container_of, i64, ref, require, trusted, u32, u64

from kernel.domain.shutdown import domain_shutdown
from kernel.sched.operations import sched_op
from kernel.sched.timer_heap import init_timer, set_timer, stop_timer, stop_timer_sync
from kernel.state.domain import NR_WATCHDOGS, Domain, Watchdog
from kernel.state.timer import Timer
from kernel.state.vcpu import Vcpu
from kernel.x86.tsc import NS_PER_S, system_time_ns


@sched_op(abi.SCHEDOP_watchdog)
def sched_watchdog(caller: Ptr[Vcpu], op: Ptr[Tainted[abi.sched_watchdog]]) -> i64:
    """Start a watchdog (`id` 0), poke one, or stop it (`timeout` 0).

    Source: Xen public ABI, sched.h, sched_watchdog. Returns: 0, or the number of the watchdog
    started.
    Errors: -EINVAL, no such watchdog, or it is not started; -ENOSPC, all are in use. Locks: takes
    the domain's.
    """
    d, number = caller.domain, op.id
    timeout = trusted(op.timeout)  # any number of seconds fits in 64 bits of nanoseconds
    require(number <= NR_WATCHDOGS, -abi.EINVAL)
    with d.lock:
        if number == 0:
            return start_watchdog(d, timeout)
        return change_watchdog(d, number - 1, timeout)


def start_watchdog(d: Ptr[Domain], timeout_s: u32) -> i64:
    """Start a free watchdog. Returns: its number, from 1."""
    for i in range(u32(NR_WATCHDOGS)):
        if d.watchdogs_in_use >> i & 1 == 0:
            d.watchdogs_in_use |= 1 << i
            watchdog = ref(d.watchdogs[i])
            watchdog.domain = d
            init_timer(ref(watchdog.timer), watchdog_bites)
            set_timer(ref(watchdog.timer), system_time_ns() + u64(timeout_s) * NS_PER_S)
            return i64(i) + 1
    return -abi.ENOSPC


def change_watchdog(d: Ptr[Domain], index: u32, timeout_s: u32) -> i64:
    """Poke or stop a watchdog."""
    require(d.watchdogs_in_use >> index & 1 != 0, -abi.EINVAL)
    timer = ref(d.watchdogs[index].timer)
    if timeout_s == 0:
        stop_timer(timer)
        d.watchdogs_in_use &= ~(1 << index)
    else:
        set_timer(timer, system_time_ns() + u64(timeout_s) * NS_PER_S)
    return 0


def watchdog_bites(timer: Ptr[Timer]) -> None:
    """Shut down a domain that forgot its watchdog. Context: timer interrupt."""
    domain_shutdown(container_of(timer, Watchdog, "timer").domain, abi.SHUTDOWN_watchdog)


def stop_watchdogs(d: Ptr[Domain]) -> None:
    """Stop all watchdogs of a domain that is going."""
    for i in range(NR_WATCHDOGS):
        stop_timer_sync(ref(d.watchdogs[i].timer))
