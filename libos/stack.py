"""Stacks with a guard page below each, so that running over one is a fault and not another's data.

    low   a page to fall into: a large frame that skips the guard still leaves room for the report
          the guard, not mapped
    high  STACK_BYTES

The hypervisor puts the frame of a fault on the stack that faulted, for it knows no other. Where
that reaches no further than the guard (calls without end), it can only end the domain, and its
report shows the registers.
"""

import abi
from kpy import Array, ref, static, u8, u64

from libos.hypercall import update_va_mapping
from libos.layout import PAGE_SIZE, STACK_BYTES
from libos.pages import alloc_pages

MAX_STACKS = 16
NO_STACK = 0xFFFF_FFFF_FFFF_FFFF

boot_guard = static(u8, extern=True, symbol="boot_guard")
guards = static(Array[u64, MAX_STACKS])  # by thread; 0: it has no stack yet


def init_stacks() -> None:
    """Guard the boot stack, on which the first thread runs."""
    set_guard(0, u64(ref(boot_guard)))


def new_stack(thread: u64) -> u64:
    """Return the lowest address of a stack for a thread."""
    guard = alloc_pages(2 + STACK_BYTES // PAGE_SIZE) + PAGE_SIZE
    set_guard(thread, guard)
    return guard + PAGE_SIZE


def set_guard(thread: u64, guard: u64) -> None:
    assert update_va_mapping(guard, 0, abi.UVMF_INVLPG) == 0
    guards[thread] = guard


def overflowed(address: u64) -> u64:
    """Return the thread in whose guard page an address lies, or NO_STACK."""
    for thread in range(MAX_STACKS):
        if guards[thread] != 0 and guards[thread] <= address < guards[thread] + PAGE_SIZE:
            return thread
    return NO_STACK
