"""sched_op: yield, block, poll, shut down, watchdogs; and its oldest form."""

import abi
from kpy import Array, Guest, i64, ref, static, u32, u64

from libos.event import alloc_unbound, close_port, shared_info
from libos.hypercall import hypercall
from libos.time import system_time_ns
from tests.guests.kernels.probes.ground import CORE_ADDRESS, NO_COMMAND, NO_DOMAIN, WILD_ADDRESS
from tests.guests.kernels.probes.transcript import tell, truth

NS_PER_MS = 1_000_000
MANY_PORTS = 129
NO_PORT = 5000
DISTANT_S = 1000

poll = static(abi.sched_poll)
ports = static(Array[u32, 256])
watchdog = static(abi.sched_watchdog)
pin = static(abi.sched_pin_override)
shutdown = static(abi.sched_shutdown)
remote = static(abi.sched_remote_shutdown)


def sched(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_sched_op, command, argument, 0, 0, 0)


def sched_compat(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_sched_op_compat, command, argument, 0, 0, 0)


def ask_scheduling() -> None:
    tell(b"SCHEDOP_yield", sched(abi.SCHEDOP_yield, 0))
    tell(b"SCHEDOP_yield ignores its argument", sched(abi.SCHEDOP_yield, WILD_ADDRESS))
    tell(b"SCHEDOP no such command", sched(NO_COMMAND, 0))
    tell(b"SCHEDOP_shutdown unmapped", sched(abi.SCHEDOP_shutdown, WILD_ADDRESS))
    tell(b"SCHEDOP_shutdown_code unmapped", sched(abi.SCHEDOP_shutdown_code, WILD_ADDRESS))
    ask_block()
    ask_poll()
    ask_remote_shutdown()
    ask_watchdog()
    ask_pin()
    tell(b"sched_op_compat yield", sched_compat(abi.SCHEDOP_yield, 0))
    tell(b"sched_op_compat poll", sched_compat(abi.SCHEDOP_poll, u64(ref(poll))))
    tell(b"sched_op_compat no such command", sched_compat(NO_COMMAND, 0))


def set_timer_in_ms(distance: u64) -> None:
    hypercall(abi.__HYPERVISOR_set_timer_op, system_time_ns() + distance * NS_PER_MS, 0, 0, 0, 0)


def ask_block() -> None:
    """A block ends by a timer, with events unmasked."""
    shared_info.vcpu_info[0].evtchn_upcall_mask = 1
    set_timer_in_ms(5)
    tell(b"SCHEDOP_block until a timer", sched(abi.SCHEDOP_block, 0))
    truth(b"SCHEDOP_block unmasks events", shared_info.vcpu_info[0].evtchn_upcall_mask == 0)
    shared_info.vcpu_info[0].evtchn_upcall_mask = 1
    set_timer_in_ms(5)
    tell(b"sched_op_compat block", sched_compat(abi.SCHEDOP_block, 0))


def ask_poll() -> None:
    port = alloc_unbound(abi.DOMID_SELF)
    poll.ports = Guest[u32](u64(ref(ports)))
    poll.nr_ports = 1
    poll.timeout = system_time_ns() + NS_PER_MS
    ports[0] = port
    shared_info.vcpu_info[0].evtchn_upcall_mask = 1
    tell(b"SCHEDOP_poll until time is up", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    while system_time_ns() < poll.timeout:
        sched(abi.SCHEDOP_poll, u64(ref(poll)))  # it may end early, by another event
    truth(b"SCHEDOP_poll leaves events masked", shared_info.vcpu_info[0].evtchn_upcall_mask == 1)
    poll.timeout = 1
    tell(b"SCHEDOP_poll until the past", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    poll.nr_ports = MANY_PORTS
    tell(b"SCHEDOP_poll 129 ports", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    poll.nr_ports = 128
    for i in range(128):
        ports[i] = port
    tell(b"SCHEDOP_poll 128 times the same port", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    poll.nr_ports = 1
    ports[0] = 0
    tell(b"SCHEDOP_poll port 0", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    ports[0] = port + 1
    tell(b"SCHEDOP_poll closed port, the next one", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    ports[0] = NO_PORT
    tell(b"SCHEDOP_poll port beyond any", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    ports[0] = port + 100
    tell(b"SCHEDOP_poll closed port, far off", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    poll.ports = Guest[u32](WILD_ADDRESS)
    tell(b"SCHEDOP_poll unmapped ports", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    poll.ports = Guest[u32](CORE_ADDRESS)
    tell(b"SCHEDOP_poll ports in the core", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    poll.nr_ports = 0
    tell(b"SCHEDOP_poll no ports", sched(abi.SCHEDOP_poll, u64(ref(poll))))
    tell(b"SCHEDOP_poll unmapped", sched(abi.SCHEDOP_poll, WILD_ADDRESS))
    shared_info.vcpu_info[0].evtchn_upcall_mask = 0
    close_port(port)


def ask_remote_shutdown() -> None:
    remote.reason = abi.SHUTDOWN_crash
    remote.domain_id = NO_DOMAIN
    tell(
        b"SCHEDOP_remote_shutdown missing domain",
        sched(abi.SCHEDOP_remote_shutdown, u64(ref(remote))),
    )
    remote.domain_id = abi.DOMID_SELF
    tell(
        b"SCHEDOP_remote_shutdown DOMID_SELF",
        sched(abi.SCHEDOP_remote_shutdown, u64(ref(remote))),
    )
    tell(b"SCHEDOP_remote_shutdown unmapped", sched(abi.SCHEDOP_remote_shutdown, WILD_ADDRESS))


def ask_watchdog() -> None:
    here = u64(ref(watchdog))
    watchdog.id = 0
    watchdog.timeout = DISTANT_S
    tell(b"SCHEDOP_watchdog first", sched(abi.SCHEDOP_watchdog, here))
    tell(b"SCHEDOP_watchdog second", sched(abi.SCHEDOP_watchdog, here))
    tell(b"SCHEDOP_watchdog third", sched(abi.SCHEDOP_watchdog, here))
    watchdog.id = 2
    tell(b"SCHEDOP_watchdog poke", sched(abi.SCHEDOP_watchdog, here))
    watchdog.timeout = 0
    tell(b"SCHEDOP_watchdog stop", sched(abi.SCHEDOP_watchdog, here))
    tell(b"SCHEDOP_watchdog stop again", sched(abi.SCHEDOP_watchdog, here))
    watchdog.id = 1
    tell(b"SCHEDOP_watchdog stop the other", sched(abi.SCHEDOP_watchdog, here))
    watchdog.timeout = DISTANT_S
    tell(b"SCHEDOP_watchdog poke a stopped one", sched(abi.SCHEDOP_watchdog, here))
    watchdog.id = NO_COMMAND
    tell(b"SCHEDOP_watchdog no such id", sched(abi.SCHEDOP_watchdog, here))
    tell(b"SCHEDOP_watchdog unmapped", sched(abi.SCHEDOP_watchdog, WILD_ADDRESS))


def ask_pin() -> None:
    here = u64(ref(pin))
    pin.pcpu = -1
    tell(b"SCHEDOP_pin_override undo nothing", sched(abi.SCHEDOP_pin_override, here))
    pin.pcpu = 0
    tell(b"SCHEDOP_pin_override cpu 0", sched(abi.SCHEDOP_pin_override, here))
    tell(b"SCHEDOP_pin_override twice", sched(abi.SCHEDOP_pin_override, here))
    pin.pcpu = -1
    tell(b"SCHEDOP_pin_override undo", sched(abi.SCHEDOP_pin_override, here))
    pin.pcpu = 60
    tell(b"SCHEDOP_pin_override no such cpu", sched(abi.SCHEDOP_pin_override, here))
    pin.pcpu = 1 << 20
    tell(b"SCHEDOP_pin_override absurd cpu", sched(abi.SCHEDOP_pin_override, here))
    tell(b"SCHEDOP_pin_override unmapped", sched(abi.SCHEDOP_pin_override, WILD_ADDRESS))
