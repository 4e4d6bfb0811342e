"""Guest memory as the model's processors reach it (kernel Python): by walking the page tables that
CR3 names, in the machine's frames, with a small TLB.

The TLB matters: a translation that the core forgot to flush stays usable here as it would on the
machine, and the invariants look at what every TLB still holds.
"""

from kpy import Ptr, Slice, copy_slice, inline, load, ref, store, struct, u8, u32, u64, wrapping_add

from kernel.base.ids import PAGE_SIZE as PAGE
from kernel.base.ids import Mfn
from kernel.state.frame_table import frame_valid
from kernel.x86.bits import (
    PTE_ACCESSED,
    PTE_ADDRESS,
    PTE_DIRTY,
    PTE_LARGE,
    PTE_PRESENT,
    PTE_USER,
    PTE_WRITE,
)
from kernel.x86.canonical import is_canonical
from kernel.x86.memlayout import DIRECTMAP_VIRT_START
from tests.model.processors import NR_TRANSLATIONS, Translation, this_model_cpu

IS_WRITE = 1  # bits of `access`
IS_USER = 2  # by the guest itself, in ring 3


@struct
class Found:
    """Where a walk ended."""

    frame: u64
    is_writable: bool
    is_user: bool


def translate(address: u64, access: u32) -> tuple[u64, bool]:
    """Return the host's address of a byte of guest memory, False where the access faults."""
    page = address >> 12
    for known in this_model_cpu().tlb:
        if known.is_valid and known.page == page and allows(known, access):
            return host_address(known.frame, address), True
    found = Found()
    if not walk(address, access, ref(found)):
        return 0, False
    remember(page, ref(found))
    return host_address(found.frame, address), True


@inline
def allows(known: Ptr[Translation], access: u32) -> bool:
    """Say whether a translation is enough for an access."""
    if access & IS_WRITE != 0 and not known.is_writable:
        return False
    return access & IS_USER == 0 or known.is_user


@inline
def host_address(frame: u64, address: u64) -> u64:
    """Return where the byte of a frame is that an address means."""
    return DIRECTMAP_VIRT_START + frame * PAGE + address % PAGE


def walk(address: u64, access: u32, found: Ptr[Found]) -> bool:
    """Walk the tables as a processor does, with CR0.WP set, and set accessed and dirty bits.

    Returns: False where the access faults.
    """
    if not is_canonical(address):
        return False
    table = this_model_cpu().cr3 & PTE_ADDRESS
    found.is_writable = True
    found.is_user = True
    shift: u64 = 39
    while True:
        assert frame_valid(Mfn(table >> 12)), "a processor walks into what is no page table"
        entry = Ptr[u64](DIRECTMAP_VIRT_START + table + (address >> shift & 511) * 8)
        value = load(entry)
        if value & PTE_PRESENT == 0:
            return False
        assert shift == 12 or value & PTE_LARGE == 0, "a large page is in force"
        found.is_writable = found.is_writable and value & PTE_WRITE != 0
        found.is_user = found.is_user and value & PTE_USER != 0
        if access & IS_USER != 0 and not found.is_user:
            return False
        if access & IS_WRITE != 0 and shift == 12 and not found.is_writable:
            return False
        store(entry, value | PTE_ACCESSED)
        table = value & PTE_ADDRESS
        if shift == 12:
            break
        shift -= 9
    found.frame = table >> 12
    if not frame_valid(Mfn(found.frame)):
        return False  # device memory: nothing of the model's is there
    if access & IS_WRITE != 0:
        store(entry, value | PTE_ACCESSED | PTE_DIRTY)
    return True


def remember(page: u64, found: Ptr[Found]) -> None:
    """Put a translation into the TLB, in the place of the oldest."""
    cpu = this_model_cpu()
    slot = ref(cpu.tlb[cpu.tlb_next])
    cpu.tlb_next = (cpu.tlb_next + 1) % NR_TRANSLATIONS
    slot.page = page
    slot.frame = found.frame
    slot.is_writable = found.is_writable
    slot.is_user = found.is_user
    slot.is_valid = True


def transfer(guest: u64, host: u64, size: u64, access: u32) -> u64:
    """Copy between guest and host memory, page by page. Returns: the bytes left after a fault."""
    done: u64 = 0
    while done < size:
        at, fine = translate(wrapping_add(guest, done), access)
        if not fine:
            return size - done
        here = min(size - done, PAGE - at % PAGE)
        if access & IS_WRITE != 0:
            copy_slice(bytes_at(at, here), bytes_at(host + done, here))
        else:
            copy_slice(bytes_at(host + done, here), bytes_at(at, here))
        done += here
    return 0


@inline
def bytes_at(address: u64, size: u64) -> Slice[u8]:
    """Return memory of the host."""
    return Slice[u8](Ptr[u8](address), size)


def read_guest(to: u64, from_: u64, size: u64) -> u64:
    """Stand for the core's own copying (kernel/base/guest_memory.py)."""
    return transfer(from_, to, size, 0)


def write_guest(to: u64, from_: u64, size: u64) -> u64:
    """Stand for the core's own copying in the other direction."""
    return transfer(to, from_, size, IS_WRITE)
