"""The memory of trace rings: made once, for the life of the machine, and shared with domain 0.

As on Xen the size can be set once. The pages belong to DOMID_XEN, which only a privileged domain
may name as the owner of what it maps; it may map the rings writable and t_info for reading. Nothing
in them is ever believed but t_buf.cons, and that not without a look.
"""

import abi
from kpy import Array, Ptr, Tainted, i64, ref, require, sizeof, static, truncate, u16, u32, u64

from kernel.base.ids import PAGE_SIZE, Vaddr
from kernel.console.console import printk
from kernel.frames.core_page import (
    alloc_core_pages,
    core_page_mfn,
    free_core_pages,
    share_with_privileged,
)
from kernel.x86.percpu import NR_CPUS, cpu_by_id, nr_cpus

MOST_PAGES = 2048  # for each processor
INFO_PAGES = 65  # so that the numbers of NR_CPUS * MOST_PAGES frames would fit

t_info = static(Vaddr | None)  # the t_info pages; None: there are no rings yet
t_info_bytes = static(u32)
Words = Array[u32, INFO_PAGES * PAGE_SIZE // 4]


def alloc_trace_buffers(wanted: Tainted[u32]) -> i64:
    """Give every processor a ring of so many pages.

    Errors: -EINVAL, they have rings already, or there is no memory for them: Xen's answer to both.
    """
    global t_info, t_info_bytes
    pages = min(wanted, MOST_PAGES)
    require(pages != 0 and t_info is None, -abi.EINVAL)
    info_pages = (first_word(nr_cpus) + nr_cpus * pages) * 4 // PAGE_SIZE + 1
    info = alloc_pages(info_pages)
    require(info is not None, -abi.EINVAL)
    for cpu in range(nr_cpus):
        buffer = alloc_pages(pages)
        if buffer is None:
            free_rings(cpu, pages)
            free_pages(info, info_pages)
            return -abi.EINVAL
        make_ring(cpu, buffer, pages)
    describe(info, pages)
    share_with_privileged(info, info_pages, False)
    t_info_bytes = info_pages * PAGE_SIZE
    t_info = info
    printk(f"trace: {pages} pages for each processor")
    return 0


def alloc_pages(count: u32) -> Vaddr | None:
    """Allocate adjacent zeroed core pages. Returns: their address, None when memory is out."""
    order = order_of(count)
    address = alloc_core_pages(order)
    if address is None:
        return None
    for page in range(u64(count), u64(1) << u64(order)):
        free_core_pages(address + page * PAGE_SIZE, 0)
    return address


def order_of(count: u32) -> u32:
    """Return the order of the smallest block that holds so many pages."""
    order: u32 = 0
    while (u32(1) << order) < count:
        order += 1
    return order


def free_pages(address: Vaddr, count: u32) -> None:
    """Give pages back that nobody shares."""
    for page in range(u64(count)):
        free_core_pages(address + page * PAGE_SIZE, 0)


def free_rings(nr_made: u32, pages: u32) -> None:
    """Take the rings of the first processors away again. Context: tracing was never enabled."""
    for cpu in range(nr_made):
        ring = ref(cpu_by_id(cpu).trace)
        free_pages(Vaddr(ring.start - sizeof(abi.t_buf)), pages)
        ring.start = 0
        ring.size_bytes = 0


def make_ring(cpu: u32, buffer: Vaddr, pages: u32) -> None:
    """Make fresh pages a processor's ring, parked. Context: tracing was never enabled."""
    ring = ref(cpu_by_id(cpu).trace)
    ring.start = u64(buffer) + sizeof(abi.t_buf)
    ring.size_bytes = pages * PAGE_SIZE - truncate(u32, sizeof(abi.t_buf))
    ring.prod = u64(buffer) + 4
    ring.at = u64(ref(ring.scratch))


def first_word(cpus: u32) -> u32:
    """Return the index in t_info of the first word behind the processors' offsets."""
    return (2 + 2 * cpus + 3) // 4


def describe(info: Vaddr, pages: u32) -> None:
    """Fill t_info in, and let domain 0 map the rings."""
    words = Ptr[Words](u64(info))  # fresh pages, enough of them for what follows
    offsets = Ptr[Array[u16, NR_CPUS + 1]](u64(info))
    offsets[0] = truncate(u16, pages)
    word = first_word(nr_cpus)
    for cpu in range(nr_cpus):
        buffer = Vaddr(cpu_by_id(cpu).trace.start - sizeof(abi.t_buf))
        offsets[cpu + 1] = truncate(u16, word)
        for page in range(pages):
            words[word] = truncate(u32, u64(core_page_mfn(buffer)) + u64(page))
            word += 1
        share_with_privileged(buffer, pages, True)
