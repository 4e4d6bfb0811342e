"""Page-table entries that must not be: to others' frames, to page tables, to nothing."""

import abi
from kpy import i64

from libos.hypercall import hypercall, mmu_update, update_va_mapping
from libos.layout import PAGE_SHIFT, PAGE_SIZE
from libos.memory import PTE_KERNEL, PTE_READ_ONLY, entry_address, machine_address
from libos.start_info import boot
from tests.guests.kernels.probes import ground
from tests.guests.kernels.probes.ground import (
    CORE_ADDRESS,
    NO_FRAME,
    WILD_ADDRESS,
    frame_of,
    set_page_entry,
    update_machine,
)
from tests.guests.kernels.probes.registry import Probes

PTE_HUGE = 0x80
PTE_SOFTWARE_HIGH = 1 << 52
PTE_RESERVED = 1 << 51
L4_SLOT_CORE = 256
MMU_BAD_COMMAND = 3

probes = Probes()


@probes.probe
def map_foreign_writable() -> i64:
    return set_page_entry(ground.foreign << PAGE_SHIFT | PTE_KERNEL)


@probes.probe
def map_foreign_readonly() -> i64:
    return set_page_entry(ground.foreign << PAGE_SHIFT | PTE_READ_ONLY)


@probes.probe
def map_missing_frame() -> i64:
    return set_page_entry(NO_FRAME << PAGE_SHIFT | PTE_KERNEL)


@probes.probe
def map_frame_zero() -> i64:
    return set_page_entry(PTE_KERNEL)


@probes.probe
def map_table_writable() -> i64:
    return set_page_entry(machine_address(boot().pt_base) | PTE_KERNEL)


@probes.probe
def map_table_readonly_and_back() -> i64:
    result = set_page_entry(machine_address(boot().pt_base) | PTE_READ_ONLY)
    assert set_page_entry(machine_address(ground.page) | PTE_KERNEL) == 0
    return result


@probes.probe
def map_with_reserved_bit() -> i64:
    return set_page_entry(machine_address(ground.page) | PTE_KERNEL | PTE_RESERVED)


@probes.probe
def map_huge_level_2() -> i64:
    entry = machine_address(entry_address(ground.page, 2))
    return update_machine(entry, machine_address(ground.page) | PTE_KERNEL | PTE_HUGE)


@probes.probe
def data_page_as_level_1() -> i64:
    entry = machine_address(entry_address(WILD_ADDRESS, 4))
    return update_machine(entry, machine_address(ground.page) | PTE_KERNEL)


@probes.probe
def change_core_slot() -> i64:
    entry = machine_address(boot().pt_base) + 8 * L4_SLOT_CORE
    return update_machine(entry, machine_address(ground.table_page) | PTE_KERNEL)


@probes.probe
def update_with_bad_command() -> i64:
    return update_machine(machine_address(ground.page) | MMU_BAD_COMMAND, 0)


@probes.probe
def update_foreign_frame() -> i64:
    return update_machine(ground.foreign << PAGE_SHIFT, 0)


@probes.probe
def update_missing_frame() -> i64:
    return update_machine(NO_FRAME << PAGE_SHIFT, 0)


@probes.probe
def update_m2p_of_foreign_frame() -> i64:
    return update_machine(ground.foreign << PAGE_SHIFT | abi.MMU_MACHPHYS_UPDATE, 0)


@probes.probe
def update_m2p_of_missing_frame() -> i64:
    return update_machine(NO_FRAME << PAGE_SHIFT | abi.MMU_MACHPHYS_UPDATE, 0)


@probes.probe
def updates_at_wild_address() -> i64:
    return mmu_update(WILD_ADDRESS, 1)


@probes.probe
def updates_in_the_core() -> i64:
    return mmu_update(CORE_ADDRESS, 1)


@probes.probe
def updates_without_end() -> i64:
    return mmu_update(WILD_ADDRESS, 0x7FFF_FFFF)


@probes.probe
def updates_for_missing_domain() -> i64:
    return hypercall(abi.__HYPERVISOR_mmu_update, WILD_ADDRESS, 1, 0, 0x1234, 0)


@probes.probe
def updates_for_domain_invalid() -> i64:
    return hypercall(abi.__HYPERVISOR_mmu_update, WILD_ADDRESS, 1, 0, abi.DOMID_INVALID, 0)


@probes.probe
def map_in_the_core() -> i64:
    return update_va_mapping(CORE_ADDRESS, machine_address(ground.page) | PTE_KERNEL, 0)


@probes.probe
def map_where_no_table_is() -> i64:
    return update_va_mapping(WILD_ADDRESS, machine_address(ground.page) | PTE_KERNEL, 0)


@probes.probe
def map_at_noncanonical_address() -> i64:
    return update_va_mapping(1 << 62, machine_address(ground.page) | PTE_KERNEL, 0)


@probes.probe
def map_foreign_by_address() -> i64:
    value = ground.foreign << PAGE_SHIFT | PTE_KERNEL
    return update_va_mapping(ground.page, value, abi.UVMF_INVLPG)


@probes.probe
def make_own_table_writable() -> i64:
    table = boot().pt_base
    return update_va_mapping(table, machine_address(table) | PTE_KERNEL, abi.UVMF_INVLPG)


@probes.probe
def map_for_other_domain() -> i64:
    value = machine_address(ground.page) | PTE_KERNEL
    number = abi.__HYPERVISOR_update_va_mapping_otherdomain
    return hypercall(number, ground.page, value, 0, 0x1234, 0)


@probes.probe
def still_mapped() -> i64:
    """The page must have kept its frame through all of this."""
    return 0 if frame_of(ground.page) == machine_address(ground.page) // PAGE_SIZE else -1
