"""Guest memory as the model's processors reach it (kernel Python): by walking the page tables that
CR3 names, in the machine's frames, with a small TLB and caches of upper entries (Intel SDM vol 3
4.10.3).

The caches matter: what the core forgot to flush stays usable here as it would on the machine, each
access by a stale entry is checked, and the invariants look at what every cache still holds.
"""

from kpy import Ptr, Slice, copy_slice, inline, load, ref, store, struct, u8, u32, u64, wrapping_add

from kernel.base.ids import PAGE_SIZE as PAGE
from kernel.base.ids import Mfn
from kernel.frames.page_type import (
    TYPE_COUNT_MASK,
    PGT_type_mask,
    PGT_validated,
    PGT_writable_page,
    table_type,
)
from kernel.state.frame_table import frame_at, frame_valid
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
from tests.model.processors import (
    CHECK_LOAD,
    GUEST_READ,
    GUEST_WRITE,
    NR_TRANSLATIONS,
    NR_UPPER_ENTRIES,
    WALK_LOAD,
    WALK_STORE,
    Translation,
    UpperEntry,
    before_model_access,
    forget_upper_entries,
    note_part,
    secret,
    this_model_cpu,
)

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
    """Walk the tables as a processor does, with CR0.WP set: from the lowest table that its caches
    of upper entries know, and if that ends in a fault, from CR3.

    Returns: False where the access faults.
    """
    if not is_canonical(address):
        return False
    cpu = this_model_cpu()
    start: Ptr[UpperEntry] | None = None
    for entry in cpu.upper:
        if (
            entry.is_valid
            and entry.part == part_of(address, entry.level)
            and (start is None or entry.level < start.level)
        ):
            start = entry
    if start is not None:
        found.is_writable = start.is_writable
        found.is_user = start.is_user
        if walk_from(start.table, start.level, address, access, found):
            return True
        forget_upper_entries(cpu)
    found.is_writable = True
    found.is_user = True
    return walk_from((cpu.cr3 & PTE_ADDRESS) >> 12, 4, address, access, found)


@inline
def part_of(address: u64, level: u32) -> u64:
    """Return the bits of an address above those that a table of a level translates."""
    return address >> (12 + 9 * u64(level))


def walk_from(start: u64, start_level: u32, address: u64, access: u32, found: Ptr[Found]) -> bool:
    """Walk from a table on, keep upper entries in the caches, and set accessed and dirty bits."""
    table = start
    level = start_level
    while True:
        index = address >> (12 + 9 * u64(level - 1)) & 511
        entry = Ptr[u64](DIRECTMAP_VIRT_START + table * PAGE + index * 8)
        before_model_access(WALK_LOAD, u64(entry), 8)
        check_walkable(table, level)
        value = load(entry)
        if value & PTE_PRESENT == 0:
            return False
        assert level == 1 or value & PTE_LARGE == 0, "a large page is in force"
        found.is_writable = found.is_writable and value & PTE_WRITE != 0
        found.is_user = found.is_user and value & PTE_USER != 0
        if access & IS_USER != 0 and not found.is_user:
            return False
        if access & IS_WRITE != 0 and level == 1 and not found.is_writable:
            return False
        set_bits(entry, value, PTE_ACCESSED)
        table = (value & PTE_ADDRESS) >> 12
        if level == 1:
            break
        level -= 1
        remember_upper(part_of(address, level), table, level, found)
    found.frame = table
    if not frame_valid(Mfn(table)):
        return False  # device memory: nothing of the model's is there
    if access & IS_WRITE != 0:
        set_bits(entry, value, PTE_ACCESSED | PTE_DIRTY)
    return True


@inline
def set_bits(entry: Ptr[u64], value: u64, bits: u64) -> None:
    """Set bits of an entry that was just loaded, at the same moment, unless they are set."""
    if value & bits != bits:
        note_part(WALK_STORE, u64(entry), 8)
        store(entry, value | bits)


def check_walkable(table: u64, level: u32) -> None:
    """Check that nobody may write as to ordinary memory, or has checked as something else, what a
    processor takes for a page table.
    """
    assert frame_valid(Mfn(table)), "a processor walks into what is no page table"
    info = checked_info(Mfn(table))
    if info & TYPE_COUNT_MASK != 0 and info & PGT_validated != 0:
        is_so = info & PGT_type_mask == table_type(level)
        assert is_so, "a processor walks through a frame that is in use as something else"


def checked_info(mfn: Mfn) -> u64:
    """Return what a frame is used as, for a check."""
    info = ref(frame_at(mfn).info)
    note_part(CHECK_LOAD, u64(info), 8)
    return load(info)


def check_access(frame: u64, access: u32) -> None:
    """Check that a guest may do to a frame what it is about to do."""
    assert frame != secret or frame == 0, "a guest reaches the core's memory"
    if access & IS_WRITE != 0:
        info = checked_info(Mfn(frame))
        if info & TYPE_COUNT_MASK != 0 and info & PGT_validated != 0:
            is_so = info & PGT_type_mask == PGT_writable_page
            assert is_so, "a guest writes to a page table or descriptor table in force"


def remember_upper(part: u64, table: u64, level: u32, found: Ptr[Found]) -> None:
    """Put an upper entry into the caches, in the place of the oldest, unless it is there."""
    cpu = this_model_cpu()
    for known in cpu.upper:
        if known.is_valid and known.level == level and known.part == part:
            known.is_valid = False
    cpu.upper[cpu.upper_next] = UpperEntry(
        part=part,
        table=table,
        level=level,
        is_valid=True,
        is_writable=found.is_writable,
        is_user=found.is_user,
    )
    cpu.upper_next = (cpu.upper_next + 1) % NR_UPPER_ENTRIES


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
        site: u32 = GUEST_WRITE if access & IS_WRITE else GUEST_READ
        before_model_access(site, at, u32(here))
        check_access((at - DIRECTMAP_VIRT_START) // PAGE, access)
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
