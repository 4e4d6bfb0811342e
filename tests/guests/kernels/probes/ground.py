"""What the probes stand on: frames of every kind that a guest should not get at, or not in that
way.
"""

import abi
from kpy import Ptr, i64, load, ref, static, store, u32, u64

from libos.hypercall import hypercall, mmu_update, update_va_mapping
from libos.layout import PAGE_SHIFT, Mfn, Pfn, pfn_of
from libos.memory import ENTRIES, PTE_READ_ONLY, entry_address, machine_address, mfn_of
from libos.pages import alloc_pages
from libos.start_info import boot

NO_FRAME = 1 << 36  # beyond any memory that we are run with
CORE_ADDRESS = 0xFFFF_82D0_4000_0000
WILD_ADDRESS = 0x1234_5678_9000  # canonical, mapped by nobody
SEARCHED_FRAMES = 1 << 18
NO_COMMAND = 77  # of any hypercall
NO_DOMAIN = 0x1234
NONCANONICAL = 1 << 62

page = static(u64)  # a data page, mapped writable
table_page = static(u64)  # a page full of zeros, mapped read-only: fit to be a page table
foreign = static(u64)  # a frame of somebody else
update = static(abi.mmu_update)
extended = static(abi.mmuext_op)


def prepare() -> None:
    global page, table_page, foreign
    page = alloc_pages(1)
    table_page = alloc_pages(1)
    for i in range(ENTRIES):
        store(Ptr[u64](table_page + 8 * i), 0)
    protect(table_page)
    foreign = find_foreign_frame()


def protect(address: u64) -> None:
    """Map a page read-only."""
    entry = machine_address(address) | PTE_READ_ONLY
    assert update_va_mapping(address, entry, abi.UVMF_INVLPG) == 0


def find_foreign_frame() -> u64:
    """Look in the machine-to-physical table for a frame that is not the one our p2m list names."""
    own = u64(mfn_of(pfn_of(page)))
    for distance in range(1, SEARCHED_FRAMES):
        mfn = own - min(distance, own)
        pfn = load(Ptr[u64](abi.MACH2PHYS_VIRT_START + 8 * mfn))
        if pfn >= boot().nr_pages or mfn_of(Pfn(pfn)) != Mfn(mfn):
            return mfn
    return 0


def frame_of(address: u64) -> u64:
    return machine_address(address) >> PAGE_SHIFT


def set_page_entry(value: u64) -> i64:
    """Ask for a new level 1 entry of our data page."""
    return update_machine(machine_address(entry_address(page, 1)), value)


def update_machine(machine: u64, value: u64) -> i64:
    """Make one mmu_update, command bits in `machine`."""
    update.ptr = machine
    update.val = value
    return mmu_update(u64(ref(update)), 1)


def extended_op(command: u64, frame: u64, argument: u64) -> i64:
    """Make one mmuext_op."""
    extended.cmd = u32(command)
    extended.arg1.mfn = frame
    extended.arg2.nr_ents = u32(argument)
    return hypercall(abi.__HYPERVISOR_mmuext_op, u64(ref(extended)), 1, 0, abi.DOMID_SELF, 0)
