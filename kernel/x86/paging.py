"""The core's own page tables: L4 slots 256-271 of every address space.

`core_l4` is the table that a processor uses while no guest's is loaded; its slots are the template
that every guest L4 gets copies of, so all L3 tables of the core are allocated before the first
guest exists and stay for ever. Slot 260 is the exception: it belongs to a domain
(kernel/x86/perdomain.py). Invariants: nothing is both writable and executable; nothing is reachable
from ring 3 but the read-only machine-to-physical table in slot 256.
"""

from kpy import Array, Ptr, Tainted, ref, static, u8, u32, u64

from kernel.base.ids import PAGE_SIZE, Maddr
from kernel.x86 import boot_info
from kernel.x86.bits import (
    PTE_ACCESSED,
    PTE_ADDRESS,
    PTE_CACHE_DISABLE,
    PTE_DIRTY,
    PTE_GLOBAL,
    PTE_LARGE,
    PTE_NX,
    PTE_PRESENT,
    PTE_USER,
    PTE_WRITE,
    PTE_WRITE_THROUGH,
)
from kernel.x86.bootmem import (
    E820_ACPI,
    E820_NVS,
    E820_RAM,
    LOW_MEMORY_END,
    boot_alloc_pages,
    image_end,
    image_start,
    memory_map,
    nr_regions,
)
from kernel.x86.features import has_1gib_pages
from kernel.x86.memlayout import (
    DEVICE_VIRT_START,
    DIRECTMAP_VIRT_START,
    L4_SLOT_END,
    L4_SLOT_FIRST,
    L4_SLOT_PERDOMAIN,
    PERCPU_VIRT_START,
    image_to_maddr,
)
from kernel.x86.percpu import AREA_BYTES, MAPPED_PAGES

PageTable = Array[u64, 512]

SIZE_2MIB = 1 << 21
SIZE_1GIB = 1 << 30
BASE = PTE_PRESENT | PTE_ACCESSED
CORE_TEXT = BASE | PTE_GLOBAL
CORE_READ = BASE | PTE_GLOBAL | PTE_NX
CORE_DATA = BASE | PTE_GLOBAL | PTE_NX | PTE_WRITE | PTE_DIRTY
CORE_DEVICE = CORE_DATA | PTE_CACHE_DISABLE | PTE_WRITE_THROUGH
GUEST_READ = BASE | PTE_GLOBAL | PTE_NX | PTE_USER
TABLE = BASE | PTE_WRITE | PTE_DIRTY
DEVICE_PAGES = 512  # one L1 table, made at boot: a device can be mapped while guests run

text_start = static(u8, extern=True, symbol="text_start")
text_end = static(u8, extern=True, symbol="text_end")
rodata_end = static(u8, extern=True, symbol="rodata_end")

core_l4 = static(u64, symbol="core_l4")  # machine address; a valid cr3 by itself
nr_device_pages = static(u64)
mapped_page_numbers = static(Array[u64, len(MAPPED_PAGES)], list(MAPPED_PAGES))


def table_at(maddr: u64) -> Ptr[PageTable]:
    """Return a page table of the core by its machine address."""
    return Ptr[PageTable](boot_info.phys_window + maddr)


def next_table(table: Ptr[PageTable], index: u64, flags: u64) -> Ptr[PageTable]:
    """Return the table that an entry points to, making one if it points to none."""
    if table[index] & PTE_PRESENT == 0:
        table[index] = u64(boot_alloc_pages(1)) | TABLE | (flags & PTE_USER)
    assert table[index] & PTE_LARGE == 0, "a large page is in the way"
    return table_at(table[index] & PTE_ADDRESS)


def map_core_range(va: u64, maddr: u64, size: u64, flags: u64) -> None:
    """Map `size` bytes, with large pages where both addresses allow it. What is mapped already
    stays as it is.

    Context: boot, before guests exist.
    """
    done: u64 = 0
    while done < size:
        done += map_one(va + done, maddr + done, size - done, flags)


def map_one(va: u64, maddr: u64, size: u64, flags: u64) -> u64:
    """Map the largest page that fits at the start of a range.

    Returns: its size.
    """
    l3 = next_table(table_at(core_l4), va >> 39 & 511, flags)
    if has_1gib_pages and size >= SIZE_1GIB and (va | maddr) % SIZE_1GIB == 0:
        return set_entry(l3, va >> 30 & 511, maddr | flags | PTE_LARGE, SIZE_1GIB)
    l2 = next_table(l3, va >> 30 & 511, flags)
    if size >= SIZE_2MIB and (va | maddr) % SIZE_2MIB == 0:
        return set_entry(l2, va >> 21 & 511, maddr | flags | PTE_LARGE, SIZE_2MIB)
    l1 = next_table(l2, va >> 21 & 511, flags)
    return set_entry(l1, va >> 12 & 511, maddr | flags, PAGE_SIZE)


def core_maddr(va: u64) -> Maddr | None:
    """Return the machine address behind an address that the core maps; None when it maps none."""
    table = table_at(core_l4)
    shift: u64 = 39
    while True:
        entry = table[va >> shift & 511]
        require(entry & PTE_PRESENT != 0, None)
        if shift == 12 or entry & PTE_LARGE != 0:
            inside = (u64(1) << shift) - 1
            return Maddr(entry & PTE_ADDRESS & ~inside | va & inside)
        table = table_at(entry & PTE_ADDRESS)
        shift -= 9


def is_core_mapped(va: u64) -> bool:
    """Whether the core's tables map an address."""
    return core_maddr(va) is not None


def set_entry(table: Ptr[PageTable], index: u64, entry: u64, size: u64) -> u64:
    """Fill an empty entry; returns `size`."""
    if table[index] & PTE_PRESENT == 0:
        table[index] = entry
    return size


def map_core_pages(va: u64, maddr: Maddr, n: u64, flags: u64) -> None:
    """Map `n` adjacent pages. Context: boot."""
    map_core_range(va, u64(maddr), n * PAGE_SIZE, flags)


def map_fresh_pages(va: u64, n: u64, flags: u64) -> u64:
    """Map `n` new zeroed pages at `va`.

    Returns: their machine address.
    """
    maddr = boot_alloc_pages(n)
    map_core_pages(va, maddr, n, flags)
    return u64(maddr)


def build_core_tables() -> None:
    """Make the core's address space: image, direct map, and tables for what is mapped later."""
    global core_l4
    core_l4 = u64(boot_alloc_pages(1))
    map_image()
    map_core_range(DIRECTMAP_VIRT_START, 0, LOW_MEMORY_END, CORE_DATA)
    for i in range(nr_regions):
        region = ref(memory_map[i])
        if region.kind in (E820_RAM, E820_ACPI, E820_NVS):
            start = max(region.start // PAGE_SIZE * PAGE_SIZE, LOW_MEMORY_END)
            end = (region.end + PAGE_SIZE - 1) // PAGE_SIZE * PAGE_SIZE
            if end > start:
                map_core_range(DIRECTMAP_VIRT_START + start, start, end - start, CORE_DATA)
    l3 = next_table(table_at(core_l4), DEVICE_VIRT_START >> 39 & 511, 0)
    next_table(next_table(l3, DEVICE_VIRT_START >> 30 & 511, 0), DEVICE_VIRT_START >> 21 & 511, 0)


def map_image() -> None:
    """Map the image's sections with the rights that each needs."""
    map_section(u64(ref(image_start)), u64(ref(text_start)), CORE_READ)
    map_section(u64(ref(text_start)), u64(ref(text_end)), CORE_TEXT)
    map_section(u64(ref(text_end)), u64(ref(rodata_end)), CORE_READ)
    map_section(u64(ref(rodata_end)), u64(ref(image_end)), CORE_DATA)


def map_section(start: u64, end: u64, flags: u64) -> None:
    """Map a part of the image, page by page: sections share no page but may share 2 MiB."""
    for va in range(start, end, PAGE_SIZE):
        map_core_range(va, u64(image_to_maddr(va)), PAGE_SIZE, flags)


def map_percpu_area(cpu: u32) -> None:
    """Give a processor its `Pcpu` and stacks."""
    for page in mapped_page_numbers:
        map_fresh_pages(PERCPU_VIRT_START + u64(cpu) * AREA_BYTES + page * PAGE_SIZE, 1, CORE_DATA)


def map_device(maddr: u64, size: u64) -> u64:
    """Map device registers, or tables of the firmware, uncached.

    Returns: the virtual address of `maddr`, or 0 when the window is full. Mappings are never
    undone: there are few devices.
    """
    global nr_device_pages
    first = maddr // PAGE_SIZE
    count = (maddr + size + PAGE_SIZE - 1) // PAGE_SIZE - first
    l1 = device_table()
    for start in range(nr_device_pages):
        if is_mapped_at(l1, start, first, count):
            return DEVICE_VIRT_START + start * PAGE_SIZE + maddr % PAGE_SIZE
    if nr_device_pages + count > DEVICE_PAGES:
        return 0
    start = nr_device_pages
    nr_device_pages += count
    for i in range(count):
        l1[start + i] = (first + i) * PAGE_SIZE | CORE_DEVICE
    return DEVICE_VIRT_START + start * PAGE_SIZE + maddr % PAGE_SIZE


def device_table() -> Ptr[PageTable]:
    """Return the L1 table of the device window."""
    l3 = table_at(table_at(core_l4)[DEVICE_VIRT_START >> 39 & 511] & PTE_ADDRESS)
    l2 = table_at(l3[DEVICE_VIRT_START >> 30 & 511] & PTE_ADDRESS)
    return table_at(l2[DEVICE_VIRT_START >> 21 & 511] & PTE_ADDRESS)


def is_mapped_at(l1: Ptr[PageTable], start: u64, first: u64, count: u64) -> bool:
    """Whether the window shows `count` pages, from page number `first` on, at `start`."""
    if start + count > nr_device_pages:
        return False
    for i in range(count):
        if l1[start + i] & PTE_ADDRESS != (first + i) * PAGE_SIZE:
            return False
    return True


def fill_core_slots(l4: Ptr[Tainted[PageTable]], perdomain_l3: Maddr) -> None:
    """Write the core's slots of a guest's L4: the template's, and the domain's own L3 in slot
    260.
    """
    template = table_at(core_l4)
    for slot in range(L4_SLOT_FIRST, L4_SLOT_END):
        l4[slot] = template[slot]
    l4[L4_SLOT_PERDOMAIN] = u64(perdomain_l3) | TABLE
