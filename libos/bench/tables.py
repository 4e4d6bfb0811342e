"""What changes of page tables cost, by every way that the ABI has."""

import abi
from kpy import Array, Ptr, ref, static, store, u32, u64

from libos.bench.measure import Row
from libos.bench.rows import Rows
from libos.hypercall import hypercall, mmu_update, update_va_mapping
from libos.layout import PAGE_SHIFT, PAGE_SIZE, pfn_of
from libos.memory import (
    ENTRIES,
    PTE_DIRTY,
    PTE_KERNEL,
    PTE_READ_ONLY,
    PTE_USER,
    entry_address,
    machine_address,
    mfn_of,
)
from libos.pages import alloc_pages
from libos.start_info import boot

NR_TOGGLED = 32

rows = Rows()
page = static(u64)  # a page whose mapping the rows change
entry = static(u64)  # the address of its level 1 entry
writable = static(u64)
readonly = static(u64)
update = static(abi.mmu_update)
many = static(Array[abi.mmu_update, NR_TOGGLED])
extended = static(abi.mmuext_op)
empty_table = static(u64)
full_table = static(u64)


def prepare() -> None:
    """Set pages aside, and fill a table with 512 writable mappings."""
    global page, entry, writable, readonly, empty_table, full_table
    page = alloc_pages(1)
    entry = entry_address(page, 1)
    # Like every entry of a guest: the hypervisor lets ring 3 in, and so shows them when read.
    writable = machine_address(page) | PTE_KERNEL | PTE_USER
    readonly = machine_address(page) | PTE_READ_ONLY | PTE_USER
    update.ptr = machine_address(entry) | abi.MMU_NORMAL_PT_UPDATE
    toggled = alloc_pages(NR_TOGGLED)
    for i in range(NR_TOGGLED):
        many[i].ptr = machine_address(entry_address(toggled + i * PAGE_SIZE, 1))
        many[i].val = machine_address(toggled + i * PAGE_SIZE) | PTE_KERNEL | PTE_USER
    empty_table = make_table(0)
    full_table = make_table(alloc_pages(ENTRIES))
    hypercall(
        abi.__HYPERVISOR_vm_assist,
        abi.VMASST_CMD_enable,
        abi.VMASST_TYPE_writable_pagetables,
        0,
        0,
        0,
    )


def make_table(target: u64) -> u64:
    """Return a read-only page with entries for 512 pages from `target` on, or none if that is 0."""
    made = alloc_pages(1)
    for i in range(ENTRIES):
        value: u64 = 0
        if target != 0:
            value = machine_address(target + i * PAGE_SIZE) | PTE_KERNEL | PTE_USER
        store(Ptr[u64](made + 8 * i), value)
    value = machine_address(made) | PTE_READ_ONLY
    assert update_va_mapping(made, value, abi.UVMF_INVLPG) == 0
    return made


def make_writable() -> None:
    update_va_mapping(page, writable, abi.UVMF_INVLPG)


def make_readonly() -> None:
    update_va_mapping(page, readonly, abi.UVMF_INVLPG)


@rows.row("update_va_mapping_rw_to_ro", undo=make_writable)
def map_rw_to_ro() -> None:
    update_va_mapping(page, readonly, abi.UVMF_INVLPG)


@rows.row("update_va_mapping_ro_to_rw", undo=make_readonly)
def map_ro_to_rw() -> None:
    update_va_mapping(page, writable, abi.UVMF_INVLPG)


@rows.row("update_va_mapping_rw_to_ro_noflush", undo=make_writable)
def map_rw_to_ro_noflush() -> None:
    update_va_mapping(page, readonly, abi.UVMF_NONE)


def unmap() -> None:
    update_va_mapping(page, 0, abi.UVMF_INVLPG)


@rows.row("update_va_mapping_unmap", undo=make_writable)
def map_unmap() -> None:
    update_va_mapping(page, 0, abi.UVMF_INVLPG)


@rows.row("update_va_mapping_map", undo=unmap)
def map_map() -> None:
    update_va_mapping(page, writable, abi.UVMF_INVLPG)


def make_clean() -> None:
    update_va_mapping(page, writable & ~PTE_DIRTY, abi.UVMF_INVLPG)


@rows.row("update_va_mapping_dirty_bit", undo=make_clean)
def map_dirty() -> None:
    update_va_mapping(page, writable, abi.UVMF_INVLPG)


def set_one(value: u64) -> None:
    update.val = value
    mmu_update(u64(ref(update)), 1)


@rows.row("mmu_update_1_rw_to_ro", undo=make_writable)
def update_rw_to_ro() -> None:
    set_one(readonly)


@rows.row("mmu_update_1_ro_to_rw", undo=make_readonly)
def update_ro_to_rw() -> None:
    set_one(writable)


@rows.row("mmu_update_1_unmap", undo=make_writable)
def update_unmap() -> None:
    set_one(0)


@rows.row("mmu_update_1_map", undo=unmap)
def update_map() -> None:
    set_one(writable)


@rows.row("mmu_update_32_toggle")
def update_many() -> None:
    for one in many:
        one.val ^= PTE_KERNEL & ~PTE_READ_ONLY
    mmu_update(u64(ref(many)), NR_TOGGLED)


def extended_op(command: u64, argument: u64) -> None:
    extended.cmd = u32(command)
    extended.arg1.mfn = argument
    assert hypercall(abi.__HYPERVISOR_mmuext_op, u64(ref(extended)), 1, 0, abi.DOMID_SELF, 0) == 0


@rows.row("mmuext_tlb_flush_local")
def flush_local() -> None:
    extended_op(abi.MMUEXT_TLB_FLUSH_LOCAL, 0)


@rows.row("mmuext_invlpg_local")
def invlpg_local() -> None:
    extended_op(abi.MMUEXT_INVLPG_LOCAL, page)


@rows.row("mmuext_new_baseptr_same")
def new_baseptr() -> None:
    extended_op(abi.MMUEXT_NEW_BASEPTR, u64(mfn_of(pfn_of(boot().pt_base))))


def pin_empty() -> None:
    extended_op(abi.MMUEXT_PIN_L1_TABLE, machine_address(empty_table) >> PAGE_SHIFT)


def unpin_empty() -> None:
    extended_op(abi.MMUEXT_UNPIN_TABLE, machine_address(empty_table) >> PAGE_SHIFT)


def pin_full() -> None:
    extended_op(abi.MMUEXT_PIN_L1_TABLE, machine_address(full_table) >> PAGE_SHIFT)


def unpin_full() -> None:
    extended_op(abi.MMUEXT_UNPIN_TABLE, machine_address(full_table) >> PAGE_SHIFT)


rows.row("mmuext_pin_l1_empty", undo=unpin_empty)(pin_empty)
rows.row("mmuext_pin_l1_512", undo=unpin_full)(pin_full)


@rows.row("ptwr_rw_to_ro", undo=make_writable)
def write_rw_to_ro() -> None:
    store(Ptr[u64](entry), readonly)


@rows.row("ptwr_ro_to_rw", undo=make_readonly)
def write_ro_to_rw() -> None:
    store(Ptr[u64](entry), writable)


table = static(Array[Row, len(rows)], rows)

# These need the tables pinned before the first time.
unpin_rows = Rows()
unpin_rows.row("mmuext_unpin_l1_empty", undo=pin_empty)(unpin_empty)
unpin_rows.row("mmuext_unpin_l1_512", undo=pin_full)(unpin_full)
unpin_table = static(Array[Row, len(unpin_rows)], unpin_rows)


def prepare_unpin() -> None:
    pin_empty()
    pin_full()
