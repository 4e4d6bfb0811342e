"""vcpu_op and sched_op with bad arguments."""

import abi
from kpy import Guest, i64, ref, u32, u64

from libos.hypercall import hypercall
from libos.time import system_time_ns
from tests.guests.kernels.bad import HYPERVISOR, UNMAPPED
from tests.guests.kernels.report import check, expect

NO_VCPU = 99
MOST_POLLS = 20


def vcpu_op(command: u64, vcpu: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_vcpu_op, command, vcpu, argument, 0, 0)


def sched_op(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_sched_op, command, argument, 0, 0, 0)


def test_vcpu() -> None:
    expect(b"vcpu: unknown command", vcpu_op(99, 0, 0), -abi.ENOSYS)
    expect(b"vcpu: no such vcpu", vcpu_op(abi.VCPUOP_is_up, NO_VCPU, 0), -abi.ENOENT)
    expect(b"vcpu: is_up", vcpu_op(abi.VCPUOP_is_up, 0, 0), 1)
    expect(b"vcpu: initialise, unmapped", vcpu_op(abi.VCPUOP_initialise, 0, UNMAPPED), -abi.EFAULT)
    single = abi.vcpu_set_singleshot_timer(timeout_abs_ns=1, flags=abi.VCPU_SSHOTTMR_future)
    result = vcpu_op(abi.VCPUOP_set_singleshot_timer, 0, u64(ref(single)))
    expect(b"vcpu: a timer in the past fires at once", result, 0)
    result = vcpu_op(abi.VCPUOP_set_singleshot_timer, NO_VCPU, u64(ref(single)))
    expect(b"vcpu: timer of another vcpu", result, -abi.ENOENT)
    periodic = abi.vcpu_set_periodic_timer(period_ns=1000)
    result = vcpu_op(abi.VCPUOP_set_periodic_timer, 0, u64(ref(periodic)))
    expect(b"vcpu: period too short", result, -abi.EINVAL)
    info = abi.vcpu_register_vcpu_info(mfn=1 << 40, offset=0)
    result = vcpu_op(abi.VCPUOP_register_vcpu_info, 0, u64(ref(info)))
    expect(b"vcpu: vcpu_info in no frame", result, -abi.EINVAL)
    info.offset = 4090
    result = vcpu_op(abi.VCPUOP_register_vcpu_info, 0, u64(ref(info)))
    expect(b"vcpu: vcpu_info across a page", result, -abi.ENXIO)
    state = abi.vcpu_runstate_info()
    result = vcpu_op(abi.VCPUOP_get_runstate_info, 0, u64(ref(state)))
    expect(b"vcpu: runstate", result, 0)
    expect(b"vcpu: we run", i64(state.state), abi.RUNSTATE_running)
    check(b"vcpu: time adds up", state.time[0] > 0 and state.time[0] < system_time_ns() + 1_000_000)


def test_sched() -> None:
    expect(b"sched: unknown command", sched_op(99, 0), -abi.ENOSYS)
    expect(b"sched: yield", sched_op(abi.SCHEDOP_yield, 0), 0)
    expect(b"sched: shutdown, unmapped", sched_op(abi.SCHEDOP_shutdown, UNMAPPED), -abi.EFAULT)
    expect(b"sched: poll, hypervisor", sched_op(abi.SCHEDOP_poll, HYPERVISOR), -abi.EFAULT)
    poll = abi.sched_poll(nr_ports=1, ports=Guest[u32](UNMAPPED))
    expect(b"sched: poll, ports", sched_op(abi.SCHEDOP_poll, u64(ref(poll))), -abi.EFAULT)
    poll.nr_ports = 1000
    expect(b"sched: poll, too many", sched_op(abi.SCHEDOP_poll, u64(ref(poll))), -abi.EINVAL)
    poll.nr_ports = 0
    poll.timeout = system_time_ns() + 1_000_000
    nr_polls: u64 = 0
    while system_time_ns() < poll.timeout:
        expect(b"sched: poll until a time", sched_op(abi.SCHEDOP_poll, u64(ref(poll))), 0)
        nr_polls += 1
    # Any event, such as the console daemon's, may end a poll early; that many don't come.
    check(b"sched: poll waited", nr_polls < MOST_POLLS)
