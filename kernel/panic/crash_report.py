"""What the console says of a guest that crashed: why, its registers, and where it came from.

The console's ring is small and everybody's, so guests that crash in a loop are reported at a
bounded rate; domain 0, whose crash ends the machine, always is. A guest's memory is read as its own
page tables show it, by instructions that may fault; the names belong to the toolstack, which has
the kernel's file (tools/xend/crash.py).
"""

from kpy import (
    Array,
    Guest,
    Ptr,
    Slice,
    Tainted,
    cold,
    min,
    ref,
    static,
    struct,
    u8,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_slice_from_guest
from kernel.base.spinlock import SpinLock
from kernel.console.console import printk
from kernel.panic.registers import print_registers
from kernel.state.domain import Domain
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import this_cpu
from kernel.x86.tsc import system_time_ns

MAX_FRAMES = 16
STACK_WORDS = 12  # shown where there is no chain of frames
BURST = 10  # reports at once
REFILL_NS = 5_000_000_000  # until one more is allowed


@struct
class Allowance:
    """How many reports may still be printed."""

    lock: SpinLock
    used: u64
    since_ns: u64  # when `used` was last brought up to date
    nr_left_out: u64


allowance = static(Allowance)


@cold
def report_crash(d: Ptr[Domain], reason: Slice[u8]) -> None:
    """Print why a domain crashed; with registers and stack if it is the one that runs here.

    Locks: any but the console's; takes a leaf lock.
    """
    if not may_report(system_time_ns()) and not d.is_privileged:
        return
    printk(f"d{d.domain_id} crashed: {reason}")
    v = this_cpu().current
    if v is not None and v.domain == d:
        mode = "kernel" if v.kernel_mode else "user"
        printk(f"d{d.domain_id}v{v.vcpu_id} in {mode} mode on cpu {v.processor}")
        printk(f"cr2 {v.vcpu_info.arch.cr2:016x} cr3 {v.cr3:016x}")
        print_registers(ref(v.regs))
        print_guest_frames(v)


@cold
def may_report(now_ns: u64) -> bool:
    """Take one of the reports that are allowed; says how many were left out before it."""
    with allowance.lock:
        refilled = (now_ns - min(allowance.since_ns, now_ns)) // REFILL_NS
        allowance.used -= min(refilled, allowance.used)
        allowance.since_ns += refilled * REFILL_NS
        if allowance.used == BURST:
            allowance.nr_left_out += 1
            return False
        allowance.used += 1
        left_out = allowance.nr_left_out
        allowance.nr_left_out = 0
    if left_out != 0:
        printk(f"{left_out} reports of crashed guests were left out")
    return True


@cold
def print_guest_frames(v: Ptr[Vcpu]) -> None:
    """Print the guest's callers along its frame pointers; where there are none, the top of its
    stack.
    """
    words = uninitialized(Tainted[Array[u64, STACK_WORDS]])
    frame = v.regs.rbp
    count: u32 = 0
    while count < MAX_FRAMES and frame % 8 == 0 and read_words(frame, words[0:2]):
        if words[1] == 0:
            break
        printk(f"  called from {words[1]:016x}")
        count += 1
        if words[0] <= frame:
            break
        frame = words[0]
    if count == 0 and read_words(v.regs.rsp, words[0:STACK_WORDS]):
        for word in words:
            printk(f"  on its stack {word:016x}")


@cold
def read_words(address: Tainted[u64], words: Slice[Tainted[u64]]) -> bool:
    """Read words of the running guest's memory; False where nothing is mapped."""
    return copy_slice_from_guest(words, Guest[u64](address))
