"""sched_op, vcpu_op and set_timer_op: every documented error."""

import abi
import pytest

from tests.model.codes import EFAULT, EINVAL, EPERM, ESRCH
from tests.model.errors import (
    CORE,
    NOBODY,
    UNMAPPED,
    Wrong,
    check,
    foreign_frame,
    guest,
    hypercall,
    own_frame,
)
from tests.model.guest import BASE, FIRST_DATA_PAGE

sched = hypercall(abi.__HYPERVISOR_sched_op)
OLD = abi.__HYPERVISOR_sched_op_compat
ENOENT, ENOSYS, EBUSY, EEXIST, ENXIO, ENOSPC = (
    -abi.ENOENT,
    -abi.ENOSYS,
    -abi.EBUSY,
    -abi.EEXIST,
    -abi.ENXIO,
    -abi.ENOSPC,
)
DATA = FIRST_DATA_PAGE
INFO_BYTES = 64


def vcpu_op(command, type_=None, vcpu=0, at=None, **fields):
    """A row's call of vcpu_op: the vCPU's number stands between command and structure."""
    number, command, argument = hypercall(abi.__HYPERVISOR_vcpu_op)(command, type_, at, **fields)
    return (number, command, vcpu, argument)


def poll(ports=0, nr_ports=0):
    fields = {"ports": ports, "nr_ports": nr_ports}
    return sched(abi.SCHEDOP_poll, abi.sched_poll, **fields)


def ports_at(*ports):
    """A list of ports in the caller's memory, past where arguments are put."""
    at = BASE + DATA * 4096

    def place(machine):
        guest(machine).write(at, b"".join(port.to_bytes(4, "little") for port in ports))
        return at

    return place


def open_port(machine):
    """Let the caller have an unbound port, number 1."""
    at = guest(machine).put(abi.evtchn_alloc_unbound, dom=abi.DOMID_SELF)
    call = (abi.__HYPERVISOR_event_channel_op, abi.EVTCHNOP_alloc_unbound, at)
    assert guest(machine).call(*call) == 0


def pin(cpu):
    return sched(abi.SCHEDOP_pin_override, abi.sched_pin_override, pcpu=cpu)


def pinned(machine):
    """Let dom0's vCPU be pinned for a while."""
    at = machine.dom0.put(abi.sched_pin_override, pcpu=0)
    assert machine.dom0.call(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_pin_override, at) == 0


def remote_shutdown(domain):
    fields = {"domain_id": domain, "reason": abi.SHUTDOWN_crash}
    return sched(abi.SCHEDOP_remote_shutdown, abi.sched_remote_shutdown, **fields)


def watchdog(number, timeout):
    return sched(abi.SCHEDOP_watchdog, abi.sched_watchdog, id=number, timeout=timeout)


def watchdogs_taken(machine):
    """Let the caller have both watchdogs."""
    caller = guest(machine)
    for number in (1, 2):
        at = caller.put(abi.sched_watchdog, id=0, timeout=1000)
        assert caller.call(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_watchdog, at) == number


def register_info(frame, offset=0):
    fields = {"mfn": frame, "offset": offset}
    return vcpu_op(abi.VCPUOP_register_vcpu_info, abi.vcpu_register_vcpu_info, **fields)


def info_moved(machine):
    """Let the caller's vcpu_info be in a page of its own."""
    at = guest(machine).put(abi.vcpu_register_vcpu_info, mfn=own_frame(DATA)(machine))
    call = (abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_register_vcpu_info, 0, at)
    assert guest(machine).call(*call) == 0
    guest(machine).vcpu().vcpu_info.evtchn_upcall_pending = 0


def period(ns):
    return vcpu_op(abi.VCPUOP_set_periodic_timer, abi.vcpu_set_periodic_timer, period_ns=ns)


def area(command, type_, where):
    return vcpu_op(command, type_, addr={"v": where})


TABLE = [
    Wrong("sched_op: no such operation", sched(99, at=0), ENOSYS),
    Wrong("old form: no such operation", (OLD, 3), ENOSYS),
    Wrong("poll: unmapped", sched(abi.SCHEDOP_poll, at=UNMAPPED), EFAULT),
    Wrong("poll: too many ports", poll(BASE, 129), EINVAL),
    Wrong("poll: closed", poll(ports_at(77), 1), EINVAL),
    Wrong("poll: port 0", poll(ports_at(0), 1), EINVAL),
    Wrong("poll: too many, all open", poll(ports_at(*[1] * 129), 129), EINVAL, first=open_port),
    Wrong("poll: ports in the core", poll(CORE, 1), EFAULT),
    Wrong("poll: ports unmapped", poll(UNMAPPED, 1), EFAULT),
    Wrong("poll: a port that cannot exist", poll(ports_at(4096), 1), EINVAL),
    Wrong("poll: the last of some cannot exist", poll(ports_at(1, 2, 9999), 3), EINVAL),
    Wrong("shutdown: unmapped", sched(abi.SCHEDOP_shutdown, at=UNMAPPED), EFAULT),
    Wrong("shutdown_code: unmapped", sched(abi.SCHEDOP_shutdown_code, at=CORE), EFAULT),
    Wrong("remote_shutdown: unmapped", sched(abi.SCHEDOP_remote_shutdown, at=CORE), EFAULT),
    Wrong("remote_shutdown: no such domain", remote_shutdown(NOBODY), ESRCH),
    Wrong("remote_shutdown: not privileged", remote_shutdown(2), EPERM),
    Wrong("watchdog: unmapped", sched(abi.SCHEDOP_watchdog, at=UNMAPPED), EFAULT),
    Wrong("watchdog: no such", watchdog(3, 5), EINVAL),
    Wrong("watchdog: far from any", watchdog(40, 5), EINVAL),
    Wrong("watchdog: not in use", watchdog(1, 5), EINVAL),
    Wrong("watchdog: none left", watchdog(0, 5), ENOSPC, first=watchdogs_taken),
    Wrong("pin_override: not privileged", pin(0), EPERM),
    Wrong("pin_override: unmapped", sched(abi.SCHEDOP_pin_override, at=CORE), EFAULT, by="dom0"),
    Wrong("pin_override: no such CPU", pin(63), EINVAL, by="dom0"),
    Wrong("pin_override: far from any", pin(1000), EINVAL, by="dom0"),
    Wrong("pin_override: none to undo", pin(-1), EINVAL, by="dom0"),
    Wrong("pin_override: pinned", pin(1), EBUSY, by="dom0", first=pinned),
    Wrong("vcpu_op: no such vCPU", vcpu_op(abi.VCPUOP_is_up, vcpu=1, at=0), ENOENT),
    Wrong("vcpu_op: vCPU out of range", vcpu_op(abi.VCPUOP_is_up, vcpu=32, at=0), ENOENT),
    Wrong("vcpu_op: no such operation", vcpu_op(99, at=0), ENOSYS),
    Wrong("initialise: unmapped", vcpu_op(abi.VCPUOP_initialise, at=UNMAPPED), EFAULT),
    Wrong("initialise: done", vcpu_op(abi.VCPUOP_initialise, abi.vcpu_guest_context), EEXIST),
    Wrong("send_nmi: an argument", vcpu_op(abi.VCPUOP_send_nmi, at=1), EINVAL),
    Wrong("get_physid", vcpu_op(abi.VCPUOP_get_physid, at=BASE), EINVAL),
    Wrong("get_runstate_info", vcpu_op(abi.VCPUOP_get_runstate_info, at=UNMAPPED), EFAULT),
    Wrong(
        "runstate area: unmapped",
        vcpu_op(abi.VCPUOP_register_runstate_memory_area, at=UNMAPPED),
        EFAULT,
    ),
    Wrong(
        "runstate area: in the core",
        area(
            abi.VCPUOP_register_runstate_memory_area, abi.vcpu_register_runstate_memory_area, CORE
        ),
        EFAULT,
    ),
    Wrong(
        "time area: unmapped",
        vcpu_op(abi.VCPUOP_register_vcpu_time_memory_area, at=UNMAPPED),
        EFAULT,
    ),
    Wrong(
        "time area: in the core",
        area(abi.VCPUOP_register_vcpu_time_memory_area, abi.vcpu_register_time_memory_area, CORE),
        EFAULT,
    ),
    Wrong("vcpu_info: unmapped", vcpu_op(abi.VCPUOP_register_vcpu_info, at=UNMAPPED), EFAULT),
    Wrong("vcpu_info: across a page's end", register_info(own_frame(DATA), 4096 - 63), ENXIO),
    Wrong("vcpu_info: a huge offset", register_info(own_frame(DATA), 0xFFFFFFC0), ENXIO),
    Wrong("vcpu_info: another's frame", register_info(foreign_frame(DATA)), EINVAL),
    Wrong("vcpu_info: a page table", register_info(own_frame(3)), EINVAL),
    Wrong("vcpu_info: no frame", register_info(1 << 40), EINVAL),
    Wrong("vcpu_info: moved before", register_info(own_frame(DATA + 1)), EINVAL, first=info_moved),
    Wrong("periodic: unmapped", vcpu_op(abi.VCPUOP_set_periodic_timer, at=UNMAPPED), EFAULT),
    Wrong("periodic: below 1 ms", period(999_999), EINVAL),
    Wrong("periodic: beyond all reason", period((1 << 64) - 1), EINVAL),
    Wrong("singleshot: unmapped", vcpu_op(abi.VCPUOP_set_singleshot_timer, at=UNMAPPED), EFAULT),
]


@pytest.mark.parametrize("row", TABLE, ids=str)
def test_refused(machine, row):
    check(machine, row)
