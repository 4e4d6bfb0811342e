"""What hypercalls cost that change little: entry and exit, and the work of each."""

import abi
from kpy import Array, asm, ref, static, u8, u64

from libos.bench.measure import Row
from libos.bench.rows import Rows
from libos.hypercall import grant_table_op, hypercall, set_timer_op
from libos.layout import PAGE_SHIFT, pfn_of
from libos.memory import machine_address, mfn_of
from libos.pages import alloc_pages
from libos.time import system_time_ns
from libos.trap import table as libos_traps

FAR_FUTURE_NS = 3_600_000_000_000
NR_CALLS = 8
BAD_NUMBER = 63

rows = Rows()
calls = static(Array[abi.multicall_entry, NR_CALLS])
one_trap = static(Array[abi.trap_info, 2])
twenty_traps = static(Array[abi.trap_info, 21])
copy = static(abi.gnttab_copy)
timer = static(abi.vcpu_set_singleshot_timer)
descriptors = static(u64)
text = static(Array[u8, 16])


def prepare() -> None:
    """Fill the arguments that the rows use."""
    global descriptors
    for call in calls:
        call.op = abi.__HYPERVISOR_xen_version
        call.args[0] = abi.XENVER_version
    for i in range(20):
        twenty_traps[i] = libos_traps[i]
    one_trap[0] = libos_traps[3]
    descriptors = alloc_pages(1)
    source, target = alloc_pages(1), alloc_pages(1)
    copy.source.u.gmfn = u64(mfn_of(pfn_of(source)))
    copy.source.domid = abi.DOMID_SELF
    copy.dest.u.gmfn = u64(mfn_of(pfn_of(target)))
    copy.dest.domid = abi.DOMID_SELF
    copy.len = 1 << PAGE_SHIFT
    timer.timeout_abs_ns = system_time_ns() + FAR_FUTURE_NS
    hypercall(abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_stop_periodic_timer, 0, 0, 0, 0)


@asm("\n".join(["nop"] * 1000), "", sideeffect=True)
def nops() -> None: ...


@rows.row("calibration_1000_nops")
def calibration() -> None:
    nops()


@rows.row("hypercall_bad_number")
def bad_number() -> None:
    hypercall(BAD_NUMBER, 0, 0, 0, 0, 0)


@rows.row("hypercall_xen_version")
def version() -> None:
    hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_version, 0, 0, 0, 0)


@rows.row("console_io_0_bytes")
def console_nothing() -> None:
    hypercall(abi.__HYPERVISOR_console_io, abi.CONSOLEIO_write, 0, u64(ref(text)), 0, 0)


@rows.row("multicall_8_xen_version")
def multicall() -> None:
    hypercall(abi.__HYPERVISOR_multicall, u64(ref(calls)), NR_CALLS, 0, 0, 0)


@rows.row("sched_op_yield")
def sched_yield() -> None:
    hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_yield, 0, 0, 0, 0)


@rows.row("set_trap_table_1")
def set_one_trap() -> None:
    hypercall(abi.__HYPERVISOR_set_trap_table, u64(ref(one_trap)), 0, 0, 0, 0)


@rows.row("set_trap_table_20")
def set_twenty_traps() -> None:
    hypercall(abi.__HYPERVISOR_set_trap_table, u64(ref(twenty_traps)), 0, 0, 0, 0)


@rows.row("stack_switch")
def stack_switch() -> None:
    hypercall(abi.__HYPERVISOR_stack_switch, abi.FLAT_KERNEL_SS, descriptors, 0, 0, 0)


@rows.row("set_segment_base_fs")
def set_fs_base() -> None:
    hypercall(abi.__HYPERVISOR_set_segment_base, abi.SEGBASE_FS, 0, 0, 0, 0)


@rows.row("set_segment_base_gs_user")
def set_user_gs_base() -> None:
    hypercall(abi.__HYPERVISOR_set_segment_base, abi.SEGBASE_GS_USER, 0, 0, 0, 0)


@rows.row("fpu_taskswitch_set")
def fpu_set() -> None:
    hypercall(abi.__HYPERVISOR_fpu_taskswitch, 1, 0, 0, 0, 0)


@rows.row("fpu_taskswitch_clear")
def fpu_clear() -> None:
    hypercall(abi.__HYPERVISOR_fpu_taskswitch, 0, 0, 0, 0, 0)


@rows.row("update_descriptor")
def update_descriptor() -> None:
    hypercall(abi.__HYPERVISOR_update_descriptor, machine_address(descriptors), 0, 0, 0, 0)


@rows.row("set_timer_op")
def set_timer() -> None:
    set_timer_op(timer.timeout_abs_ns)


@rows.row("vcpu_set_singleshot_timer")
def set_singleshot() -> None:
    hypercall(abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_set_singleshot_timer, 0, u64(ref(timer)), 0, 0)


@rows.row("vcpu_stop_singleshot_timer")
def stop_singleshot() -> None:
    hypercall(abi.__HYPERVISOR_vcpu_op, abi.VCPUOP_stop_singleshot_timer, 0, 0, 0, 0)


@rows.row("memory_op_maximum_ram_page")
def maximum_ram_page() -> None:
    hypercall(abi.__HYPERVISOR_memory_op, abi.XENMEM_maximum_ram_page, 0, 0, 0, 0)


@rows.row("gnttab_copy_4096")
def grant_copy() -> None:
    grant_table_op(abi.GNTTABOP_copy, ref(copy))


table = static(Array[Row, len(rows)], rows)
