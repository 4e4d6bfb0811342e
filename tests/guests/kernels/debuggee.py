"""A kernel to be debugged: functions, structs and locals that a test knows, and a second vCPU.

It computes for a while, tells the result on its console and as its exit code, and ends; with
`mode=spin` it never does. The second vCPU, if the domain has one, counts until then.
"""

import abi
from kpy import (
    Array,
    Never,
    Ptr,
    barrier,
    enum,
    export,
    noinline,
    ref,
    static,
    struct,
    u8,
    u64,
    volatile_load,
    volatile_store,
)

from libos.console import say
from libos.hypercall import hypercall
from libos.layout import PAGE_SIZE
from libos.memory import machine_address
from libos.options import option
from libos.pages import alloc_pages
from libos.start_info import boot
from libos.text import same_text

RPL_KERNEL = 3
EFLAGS_IF = 1 << 9
STACK_PAGES = 4


@enum(u8)
class Kind:
    """What a point stands for."""

    corner = 1
    centre = 2


@struct
class Point:
    """Something to print."""

    x: u64
    y: u64
    kind: Kind


points = static(Array[Point, 3])
ticks = static(u64)  # of the second vCPU
rounds = static(u64)
context = static(abi.vcpu_guest_context)


@noinline
def area(point: Ptr[Point], scale: u64) -> u64:
    """Compute something from a struct, a parameter and locals."""
    width = point.x * scale
    barrier()
    height = point.y * scale
    barrier()
    return width * height


@noinline
def total_area(scale: u64) -> u64:
    """Sum over all points."""
    total: u64 = 0
    for point in points:
        total += area(point, scale)
    return total


@noinline
def count_ticks() -> Never:
    """What the second vCPU does."""
    while True:
        volatile_store(ref(ticks), volatile_load(ref(ticks)) + 1)


@export
def second_main() -> Never:
    """Where the second vCPU starts."""
    count_ticks()


def start_second_vcpu() -> None:
    """Bring vCPU 1 up on a stack of its own, with our page tables."""
    stack = alloc_pages(STACK_PAGES)
    regs = ref(context.user_regs)
    regs.rip = u64(second_main)
    regs.rsp = stack + STACK_PAGES * PAGE_SIZE - 8
    regs.cs = abi.FLAT_KERNEL_CS
    regs.ss = abi.FLAT_KERNEL_SS
    regs.rflags = EFLAGS_IF
    context.flags = abi.VGCF_in_kernel
    context.ctrlreg[3] = machine_address(boot().pt_base)
    address = u64(ref(context))
    made = hypercall(abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_initialise, 1, address, 0, 0)
    if made == 0:
        assert hypercall(abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_up, 1, 0, 0, 0) == 0


@export
def main() -> u64:
    global rounds
    start_second_vcpu()
    for i, point in enumerate(points):
        point.x = i + 1
        point.y = 2
        point.kind = Kind.centre if i == 1 else Kind.corner
    while True:
        rounds += 1
        result = total_area(rounds)
        if not same_text(option(b"mode"), b"spin"):
            break
    say(f"debuggee: {result}")
    return result
