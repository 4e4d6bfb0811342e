"""The end of a domain's own making: shutdown with a reason, and crash.

The toolstack then takes it apart (`domain_life`).
"""

import abi
from kpy import Ptr, Slice, cold, i64, u8, u32

from kernel.console.console import printk
from kernel.evtchn.virq import send_global_virq
from kernel.panic.crash_report import report_crash
from kernel.sched.wake import vcpu_pause_nosync
from kernel.state.domain import Domain, SHUTDOWN_CODE_none, crash_handlers
from kernel.state.vcpu import EVENT_shutdown
from kernel.trace.record import trace_2
from kernel.x86.percpu import this_cpu
from kernel.x86.power import machine_power_off, machine_restart


def domain_shutdown(d: Ptr[Domain], reason: u32) -> i64:
    """Stop all vCPUs of a domain, note why, and tell the toolstack. The first reason given stays.

    Args: reason: SHUTDOWN_*. Returns: 0. Locks: takes domain 0's event lock.
    Context: possibly from one of the domain's vCPUs, which then never returns to its guest.
    """
    with d.shutdown_lock:
        if d.shutdown_code == SHUTDOWN_CODE_none:
            d.shutdown_code = reason
        if d.is_shutting_down:
            return 0
        d.is_shutting_down = True
    trace_2(abi.TRC_SCHED_SHUTDOWN_CODE, u32(d.domain_id), reason)
    if d.is_privileged:
        stop_machine(d.shutdown_code)
        return 0
    if d.debugger_attached:
        note_for_debugger(d)
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None and not v.is_paused_for_shutdown:
            v.is_paused_for_shutdown = True
            vcpu_pause_nosync(v)
    d.is_shut_down = True
    send_global_virq(abi.VIRQ_DOM_EXC)
    return 0


@cold
def note_for_debugger(d: Ptr[Domain]) -> None:
    """Let XEN_DOMCTL_gdbsx_domstatus tell on which vCPU a domain ends."""
    v = this_cpu().current
    if v is not None and v.domain == d:
        v.debugger_event = EVENT_shutdown


def stop_machine(reason: u32) -> None:
    """Do to the machine what domain 0 did to itself."""
    if reason == abi.SHUTDOWN_poweroff:
        printk("domain 0 halted: powering off")
        machine_power_off()
    printk(f"domain 0 shut down with reason {reason}: restarting")
    machine_restart()


@cold
def crash(d: Ptr[Domain], reason: Slice[u8]) -> None:
    """Shut a domain down with SHUTDOWN_crash, and report why and from where on the console."""
    if d.is_shutting_down:
        return
    report_crash(d, reason)
    domain_shutdown(d, abi.SHUTDOWN_crash)


crash_handlers[0] = crash
