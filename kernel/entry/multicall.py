"""multicall: several hypercalls in one entry to the core.

Each entry is read from the guest, served, and its result written back before the next, so a guest
sees the effects of every entry in order. Between entries the core looks whether it must let others
run, and continues with the rest afterwards.
"""

import abi
from kpy import (
    Guest,
    Ptr,
    Tainted,
    cold,
    i64,
    inline,
    noinline,
    offsetof,
    ref,
    require,
    truncate,
    trusted,
    u32,
    u64,
    uninitialized,
    wrapping_add,
)

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.registry import hypercall
from kernel.entry.hypercall import call_handler
from kernel.state.continuation import hypercall_continue, take_continuation
from kernel.state.vcpu import Vcpu
from kernel.trace.record import tracing
from kernel.trace.wide import record_hypercall, record_return
from kernel.x86.preempt import preempt_pending

PREEMPT_INTERVAL = 16  # entries between two looks for waiting interrupts


@hypercall(abi.__HYPERVISOR_multicall)
def do_multicall(vcpu: Ptr[Vcpu], entries: Guest[abi.multicall_entry], nr: Tainted[u32]) -> i64:
    """Serve `nr` hypercalls.

    Hypercall: multicall(entries: multicall_entry[nr] in the guest, nr).
    Errors: -EFAULT, an entry can't be read or its result not written; -EINVAL, an entry is itself a
    multicall or an iret (as its result).
    """
    entry = uninitialized(Tainted[abi.multicall_entry])
    nr = trusted(nr)  # however many: the loop ends for what is more urgent
    for i in range(nr):
        if i % PREEMPT_INTERVAL == PREEMPT_INTERVAL - 1 and preempt_pending():
            return hypercall_continue(vcpu, entries.index(u64(i)).address(), u64(nr - i), 0, 0)
        here = entries.index(u64(i))
        require(copy_from_guest(ref(entry), here), -abi.EFAULT)
        result = call_entry(vcpu, ref(entry))
        if take_continuation(vcpu, result):
            return continue_within(vcpu, ref(entry), here, nr - i)
        require(write_result(here, result), -abi.EFAULT)
    return 0


@inline
def write_result(here: Guest[abi.multicall_entry], result: i64) -> bool:
    """Store the result of an entry. Returns: False when the guest's list can't be written."""
    value = result
    field = wrapping_add(here.address(), offsetof(abi.multicall_entry, "result"))
    return copy_to_guest(Guest[i64](field), ref(value))


@noinline
def call_entry(vcpu: Ptr[Vcpu], entry: Ptr[Tainted[abi.multicall_entry]]) -> i64:
    """Serve one entry.

    A multicall in a multicall would be recursion and is refused. So is iret: what follows it would
    be served in user mode, with the page tables loaded that it may then release.
    """
    require(entry.op not in (abi.__HYPERVISOR_multicall, abi.__HYPERVISOR_iret), -abi.EINVAL)
    args = ref(entry.args)
    if tracing(abi.TRC_PV_HYPERCALL_SUBCALL):
        return call_traced(vcpu, entry)
    return call_handler(vcpu, entry.op, args[0], args[1], args[2], args[3], args[4])


@cold
def call_traced(vcpu: Ptr[Vcpu], entry: Ptr[Tainted[abi.multicall_entry]]) -> i64:
    """Serve one entry, and record when that began and ended."""
    args = ref(entry.args)
    record_hypercall(abi.TRC_PV_HYPERCALL_SUBCALL, entry.op, args[0], args[1], args[2])
    result = call_handler(vcpu, entry.op, args[0], args[1], args[2], args[3], args[4])
    record_return(abi.TRC_PROXEN_SUBCALL_RETURN, entry.op, truncate(u64, result))
    return result


def continue_within(
    vcpu: Ptr[Vcpu],
    entry: Ptr[Tainted[abi.multicall_entry]],
    here: Guest[abi.multicall_entry],
    nr_left: u32,
) -> i64:
    """Stop in the middle of an entry: its new arguments go to the guest's list, and the multicall
    goes on from there.
    """
    for i in range(4):
        entry.args[i] = vcpu.continuation[i]
    require(copy_to_guest(here, entry), -abi.EFAULT)
    return hypercall_continue(vcpu, here.address(), u64(nr_left), 0, 0)
