"""The end: what happened, where, how it came to that, and what everybody else was doing, on the
console; then every processor stops.

A panic is always a bug of the core or broken hardware: nothing a guest does leads here, but a debug
key that domain 0 may press. A panic within the report says so in one line and stops.
"""

import abi
from kpy import Never, Ptr, Tainted, atomic_cas, cold, export, ref, static, u32, u64

from kernel.base.cmdline import has_option
from kernel.console.console import end_partial_line, printk
from kernel.console.screen import screen_reclaim
from kernel.panic.cpu_state import ask_other_cpus, note_state, print_other_cpus, print_state, states
from kernel.panic.registers import print_control_registers, print_registers
from kernel.x86.cpu import halt_forever
from kernel.x86.percpu import this_cpu
from kernel.x86.reset import reboot, stop_on_nmi
from linetable.panic_text import PanicSite, PanicText, panic_text

panicking_cpu = static(u32)  # its number + 1; 0: all is well
has_failed_again = static(bool)


@export
@cold
def panic_with_registers(
    site: Ptr[PanicSite], first: u64, second: u64, regs: Ptr[Tainted[abi.cpu_user_regs]]
) -> Never:
    """Report a failed check. The compiler calls `kpy_panic` for assertions, bounds, overflow and
    `panic`; instructions.asm adds the registers.
    """
    text = PanicText()
    shown = panic_text(ref(text), site, first, second)
    if not begin_panic():
        printk(f"panic within the report: {shown} at {site.file}:{site.line}")
        halt_forever()
    printk(f"panic: {shown}")
    printk(f"  at {site.file}:{site.line}, cpu {this_cpu().id}")
    end_panic(regs)


@cold
def begin_panic() -> bool:
    """Have the report to this processor alone.

    Returns: False when it was reporting already; a processor that comes second halts, and the first
    one says where it was.
    """
    global has_failed_again
    me = this_cpu().id + 1
    first, _ = atomic_cas(ref(panicking_cpu), 0, me)
    if first != 0 and first != me or has_failed_again:
        halt_forever()
    this_cpu().in_nmi = True  # printk takes no locks from here on
    end_partial_line()
    has_failed_again = first == me
    screen_reclaim()
    return first == 0


@cold
def end_panic(regs: Ptr[Tainted[abi.cpu_user_regs]]) -> Never:
    """Print everything, then reboot or stop, as `reboot-on-panic` says: by default somebody should
    read the console.
    """
    stop_on_nmi()
    ask_other_cpus()
    note_state(regs)
    print_registers(regs)
    print_control_registers()
    print_state(ref(states[this_cpu().id]))
    print_other_cpus()
    printk("the core has stopped.")
    if has_option(b"reboot-on-panic"):
        reboot()
    halt_forever()
