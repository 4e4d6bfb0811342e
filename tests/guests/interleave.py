"""Two vCPUs that never rest, on one processor: how long each of their turns was tells the slices.

As dom0's kernel with `dom0_max_vcpus=2`. Prints one line a turn, `turn N: vcpu V, T us`.
"""

import abi
from kpy import Array, atomic_load, atomic_store, export, i64, ref, static, struct, u64

from libos.console import say
from libos.hypercall import hypercall
from libos.layout import PAGE_SHIFT, PAGE_SIZE, pfn_of
from libos.memory import mfn_of
from libos.pages import alloc_pages
from libos.start_info import boot
from libos.time import system_time_ns
from tests.guests.report import expect, verdict

NR_TURNS = 24
STACK_PAGES = 4
NS_PER_US = 1000
NOBODY = 99


@struct
class Turn:
    vcpu: u64
    started_ns: u64


turns = static(Array[Turn, NR_TURNS + 2])  # at the end each may note one more
nr_turns = static(u64)
runner = static(u64, NOBODY)
context = static(abi.vcpu_guest_context)


def spin(vcpu: u64) -> None:
    """Note each turn of ours when it begins, until there have been enough."""
    while atomic_load(ref(nr_turns)) <= NR_TURNS:
        if atomic_load(ref(runner)) != vcpu:
            atomic_store(ref(runner), vcpu)
            turns[nr_turns] = Turn(vcpu=vcpu, started_ns=system_time_ns())
            atomic_store(ref(nr_turns), nr_turns + 1)


def second_vcpu() -> None:
    """What the other vCPU does; it is never the one that ends the program."""
    while True:
        spin(1)


def start_second_vcpu() -> None:
    """Start vCPU 1 with our page tables and a stack of its own."""
    stack_end = alloc_pages(STACK_PAGES) + STACK_PAGES * PAGE_SIZE
    context.flags = abi.VGCF_in_kernel
    context.user_regs.rip = u64(second_vcpu)
    context.user_regs.rsp = stack_end - 8  # as after a call
    context.user_regs.cs = abi.FLAT_KERNEL_CS
    context.user_regs.ss = abi.FLAT_KERNEL_SS
    context.kernel_ss = abi.FLAT_KERNEL_SS
    context.kernel_sp = stack_end
    context.ctrlreg[3] = u64(mfn_of(pfn_of(boot().pt_base))) << PAGE_SHIFT
    expect(b"initialise vcpu 1", vcpu_op(abi.VCPUOP_initialise, u64(ref(context))), 0)
    expect(b"vcpu 1 goes up", vcpu_op(abi.VCPUOP_up, 0), 0)


def vcpu_op(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_vcpu_op, command, 1, argument, 0, 0)


def print_turns() -> None:
    """Print how long each turn was that has ended, but the first, which began without a rival."""
    for i in range(1, NR_TURNS):
        length_us = (turns[i + 1].started_ns - turns[i].started_ns) // NS_PER_US
        say(f"turn {i}: vcpu {turns[i].vcpu}, {length_us} us")


@export
def main() -> u64:
    start_second_vcpu()
    spin(0)
    print_turns()
    return verdict()
