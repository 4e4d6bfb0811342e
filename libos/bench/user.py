"""What it costs to go from a guest's user mode to its kernel and back, measured by the user
itself.
"""

import abi
from kpy import Ptr, extern, ref, static, store, u64

from libos.bench.measure import ITERATIONS, put_sample, report, set_overhead
from libos.bench.user_layout import OPERATION_BYTES, USER_CODE
from libos.hypercall import hypercall, update_va_mapping
from libos.layout import PAGE_SHIFT
from libos.memory import ENTRIES, PTE_KERNEL, PTE_READ_ONLY, PTE_TABLE, PTE_USER, machine_address
from libos.pages import alloc_pages

extended = static(abi.mmuext_op)


@extern
def user_code() -> None: ...


@extern
def enter_user(rip: u64) -> u64: ...


def prepare() -> None:
    """Make a user address space of two pages, the code and a stack, and install it."""
    level1, level2, level3, level4 = alloc_pages(1), alloc_pages(1), alloc_pages(1), alloc_pages(1)
    clear(level1)
    code = USER_CODE >> PAGE_SHIFT & (ENTRIES - 1)
    set_entry(level1, code, machine_address(u64(user_code)) | PTE_READ_ONLY | PTE_USER)
    set_entry(level1, code + 1, machine_address(alloc_pages(1)) | PTE_KERNEL | PTE_USER)
    make_table(level2, USER_CODE >> 21 & (ENTRIES - 1), level1)
    make_table(level3, 0, level2)
    make_table(level4, 0, level3)
    protect(level4)
    extended.cmd = abi.MMUEXT_NEW_USER_BASEPTR
    extended.arg1.mfn = machine_address(level4) >> PAGE_SHIFT
    assert hypercall(abi.__HYPERVISOR_mmuext_op, u64(ref(extended)), 1, 0, abi.DOMID_SELF, 0) == 0


def clear(table: u64) -> None:
    for i in range(ENTRIES):
        set_entry(table, i, 0)


def set_entry(table: u64, index: u64, value: u64) -> None:
    store(Ptr[u64](table + 8 * index), value)


def make_table(table: u64, index: u64, below: u64) -> None:
    """Fill a page table with a single entry, to the table below it."""
    clear(table)
    set_entry(table, index, machine_address(below) | PTE_TABLE)
    protect(below)


def protect(table: u64) -> None:
    """A page table may not be mapped writable."""
    assert update_va_mapping(table, machine_address(table) | PTE_READ_ONLY, abi.UVMF_INVLPG) == 0


def measure_user() -> None:
    sample(0)
    set_overhead()
    sample(1)
    report("user_syscall_kernel_user")
    sample(2)
    report("user_pf_kernel_user")
    sample(3)
    report("user_int3_kernel_user")


def sample(operation: u64) -> None:
    """Run an operation of user_layout.OPERATIONS in user mode."""
    enter_user(USER_CODE + operation * OPERATION_BYTES)
    for i in range(ITERATIONS):
        put_sample(i, enter_user(USER_CODE + operation * OPERATION_BYTES))
