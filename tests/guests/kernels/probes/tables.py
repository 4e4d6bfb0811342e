"""Page tables, descriptor tables and memory that the hypervisor must not take, or not give away."""

import abi
from kpy import Array, Guest, Ptr, i64, ref, static, store, u16, u32, u64

from libos.hypercall import hypercall
from libos.layout import PAGE_SHIFT
from libos.memory import ENTRIES, PTE_KERNEL, machine_address
from libos.pages import alloc_pages
from libos.start_info import boot
from tests.guests.kernels.probes import ground
from tests.guests.kernels.probes.ground import (
    CORE_ADDRESS,
    NO_FRAME,
    WILD_ADDRESS,
    extended_op,
    frame_of,
    protect,
)
from tests.guests.kernels.probes.registry import Probes

MMUEXT_BAD_COMMAND = 99
XENMEM_BAD_COMMAND = 60
CALL_GATE_TO_RING_0 = 0x0000_EC00_E008_0000
FLAT_CODE_RING_0 = 0x00AF_9A00_0000_FFFF
TOO_MANY_DESCRIPTORS = 9000

probes = Probes()
frames = static(Array[u64, 16])
reservation = static(abi.xen_memory_reservation)


@probes.probe
def pin_writable_page() -> i64:
    return extended_op(abi.MMUEXT_PIN_L1_TABLE, frame_of(ground.page), 0)


@probes.probe
def pin_foreign_frame() -> i64:
    return extended_op(abi.MMUEXT_PIN_L1_TABLE, ground.foreign, 0)


@probes.probe
def pin_missing_frame() -> i64:
    return extended_op(abi.MMUEXT_PIN_L4_TABLE, NO_FRAME, 0)


@probes.probe
def pin_table_of_foreign_frames() -> i64:
    table = alloc_pages(1)
    for i in range(ENTRIES):
        store(Ptr[u64](table + 8 * i), ground.foreign << PAGE_SHIFT | PTE_KERNEL)
    protect(table)
    return extended_op(abi.MMUEXT_PIN_L1_TABLE, frame_of(table), 0)


@probes.probe
def pin_garbage_as_level_3() -> i64:
    table = alloc_pages(1)
    for i in range(ENTRIES):
        store(Ptr[u64](table + 8 * i), i * 0x9E37_79B9 * 4096 | PTE_KERNEL)
    protect(table)
    return extended_op(abi.MMUEXT_PIN_L3_TABLE, frame_of(table), 0)


@probes.probe
def pin_level_4_as_level_2() -> i64:
    return extended_op(abi.MMUEXT_PIN_L2_TABLE, frame_of(boot().pt_base), 0)


@probes.probe
def pin_and_pin_again() -> i64:
    assert extended_op(abi.MMUEXT_PIN_L1_TABLE, frame_of(ground.table_page), 0) == 0
    return extended_op(abi.MMUEXT_PIN_L1_TABLE, frame_of(ground.table_page), 0)


@probes.probe
def unpin() -> i64:
    return extended_op(abi.MMUEXT_UNPIN_TABLE, frame_of(ground.table_page), 0)


@probes.probe
def unpin_again() -> i64:
    return extended_op(abi.MMUEXT_UNPIN_TABLE, frame_of(ground.table_page), 0)


@probes.probe
def run_on_data_page() -> i64:
    return extended_op(abi.MMUEXT_NEW_BASEPTR, frame_of(ground.page), 0)


@probes.probe
def run_on_foreign_frame() -> i64:
    return extended_op(abi.MMUEXT_NEW_BASEPTR, ground.foreign, 0)


@probes.probe
def user_table_of_data() -> i64:
    return extended_op(abi.MMUEXT_NEW_USER_BASEPTR, frame_of(ground.page), 0)


@probes.probe
def bad_extended_command() -> i64:
    return extended_op(MMUEXT_BAD_COMMAND, 0, 0)


@probes.probe
def local_descriptors_unaligned() -> i64:
    return extended_op(abi.MMUEXT_SET_LDT, ground.page + 8, 4)


@probes.probe
def local_descriptors_too_many() -> i64:
    return extended_op(abi.MMUEXT_SET_LDT, ground.page, TOO_MANY_DESCRIPTORS)


@probes.probe
def extended_ops_at_wild_address() -> i64:
    return hypercall(abi.__HYPERVISOR_mmuext_op, WILD_ADDRESS, 1, 0, abi.DOMID_SELF, 0)


@probes.probe
def clear_foreign_frame() -> i64:
    return extended_op(abi.MMUEXT_CLEAR_PAGE, ground.foreign, 0)


@probes.probe
def global_descriptors_foreign() -> i64:
    frames[0] = ground.foreign
    return hypercall(abi.__HYPERVISOR_set_gdt, u64(ref(frames)), 8, 0, 0, 0)


@probes.probe
def global_descriptors_in_table() -> i64:
    frames[0] = frame_of(boot().pt_base)
    return hypercall(abi.__HYPERVISOR_set_gdt, u64(ref(frames)), 8, 0, 0, 0)


@probes.probe
def global_descriptors_too_many() -> i64:
    frames[0] = frame_of(ground.page)
    return hypercall(abi.__HYPERVISOR_set_gdt, u64(ref(frames)), TOO_MANY_DESCRIPTORS, 0, 0, 0)


@probes.probe
def descriptor_of_ring_0() -> i64:
    machine = machine_address(ground.page)
    return hypercall(abi.__HYPERVISOR_update_descriptor, machine, FLAT_CODE_RING_0, 0, 0, 0)


@probes.probe
def descriptor_call_gate() -> i64:
    machine = machine_address(ground.page)
    return hypercall(abi.__HYPERVISOR_update_descriptor, machine, CALL_GATE_TO_RING_0, 0, 0, 0)


@probes.probe
def descriptor_in_page_table() -> i64:
    machine = machine_address(boot().pt_base)
    return hypercall(abi.__HYPERVISOR_update_descriptor, machine, 0, 0, 0, 0)


@probes.probe
def descriptor_in_foreign_frame() -> i64:
    machine = ground.foreign << PAGE_SHIFT
    return hypercall(abi.__HYPERVISOR_update_descriptor, machine, 0, 0, 0, 0)


def memory_op(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_memory_op, command, argument, 0, 0, 0)


def reserve(command: u64, extents: u64, count: u64, order: u32, target: u16) -> i64:
    """Make a request about memory."""
    reservation.extent_start = Guest[u64](extents)
    reservation.nr_extents = count
    reservation.extent_order = order
    reservation.domid = target
    return memory_op(command, u64(ref(reservation)))


@probes.probe
def memory_of_missing_domain() -> i64:
    return reserve(abi.XENMEM_populate_physmap, u64(ref(frames)), 1, 0, 0x1234)


@probes.probe
def memory_of_domain_0() -> i64:
    return reserve(abi.XENMEM_decrease_reservation, u64(ref(frames)), 1, 0, 0)


@probes.probe
def memory_without_end() -> i64:
    return reserve(abi.XENMEM_populate_physmap, u64(ref(frames)), 1 << 60, 0, abi.DOMID_SELF)


@probes.probe
def memory_of_huge_order() -> i64:
    return reserve(abi.XENMEM_populate_physmap, u64(ref(frames)), 1, 60, abi.DOMID_SELF)


@probes.probe
def give_back_foreign_frame() -> i64:
    frames[0] = ground.foreign
    return reserve(abi.XENMEM_decrease_reservation, u64(ref(frames)), 1, 0, abi.DOMID_SELF)


@probes.probe
def give_back_wild_list() -> i64:
    return reserve(abi.XENMEM_decrease_reservation, WILD_ADDRESS, 1, 0, abi.DOMID_SELF)


@probes.probe
def memory_op_in_the_core() -> i64:
    return memory_op(abi.XENMEM_populate_physmap, CORE_ADDRESS)


@probes.probe
def bad_memory_command() -> i64:
    return memory_op(XENMEM_BAD_COMMAND, u64(ref(reservation)))
