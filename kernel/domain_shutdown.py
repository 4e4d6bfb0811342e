"""The end of a domain's own making: shutdown with a reason, and crash.

The toolstack then takes it apart (`domain_life`).
"""

import abi
from kpy import Ptr, Slice, cold, i64, ref, u8, u32, u64

from kernel.console import printk
from kernel.domain import Domain, crash_handlers
from kernel.sched_wake import vcpu_pause_nosync
from kernel.vcpu import Vcpu
from kernel.virq import send_global_virq
from kernel.x86.percpu import this_cpu
from kernel.x86.power import machine_power_off, machine_restart

SHUTDOWN_CODE_none = (1 << 32) - 1  # in Domain.shutdown_code: it has not shut down


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
    if d.is_privileged:
        stop_machine(d.shutdown_code)
        return 0
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None and not v.is_paused_for_shutdown:
            v.is_paused_for_shutdown = True
            vcpu_pause_nosync(v)
    d.is_shut_down = True
    send_global_virq(abi.VIRQ_DOM_EXC)
    return 0


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
    printk(f"d{d.domain_id} crashed: {reason}")
    current = this_cpu().current
    if current is not None and current.domain == d:
        print_registers(current)
    domain_shutdown(d, abi.SHUTDOWN_crash)


def print_registers(v: Ptr[Vcpu]) -> None:
    """Show the guest's registers on the console, whose ring the toolstack can read."""
    r = ref(v.regs)
    mode = "kernel" if v.kernel_mode else "user"
    printk(f"d{v.domain.domain_id}v{v.vcpu_id} in {mode} mode on CPU {v.processor}")
    printk(f"rip {u64(r.cs):04x}:{r.rip:016x} rflags {r.rflags:016x} error {r.error_code:08x}")
    printk(f"rax {r.rax:016x} rbx {r.rbx:016x} rcx {r.rcx:016x}")
    printk(f"rdx {r.rdx:016x} rsi {r.rsi:016x} rdi {r.rdi:016x}")
    printk(f"rbp {r.rbp:016x} rsp {u64(r.ss):04x}:{r.rsp:016x}")
    printk(f"r8  {r.r8:016x} r9  {r.r9:016x} r10 {r.r10:016x}")
    printk(f"r11 {r.r11:016x} r12 {r.r12:016x} r13 {r.r13:016x}")
    printk(f"r14 {r.r14:016x} r15 {r.r15:016x} cr3 {v.cr3:016x}")


crash_handlers[0] = crash
