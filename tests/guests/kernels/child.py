"""A toy dom0 makes domains: seven pages, of which one is code, one a stack, and one shared with us.

What a toolstack does, at its smallest: create, give memory, write page tables through mappings of
the child's frames, set its first registers, unpause.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Slice,
    copy_slice,
    i64,
    ref,
    static,
    store,
    struct,
    u8,
    u16,
    u32,
    u64,
    zero,
)

from libos.hypercall import hypercall, update_va_mapping
from libos.layout import PAGE_SHIFT, PAGE_SIZE
from libos.memory import PTE_KERNEL, PTE_TABLE, PTE_USER
from libos.pages import alloc_pages
from tests.guests.kernels.report import expect

BASE = 0xFFFF_FFFF_8000_0000
L4, L3, L2, L1, CODE, STACK, DATA, NR_PAGES = range(8)
MAX_KIB = 4 * NR_PAGES
MAX_PORT = 1023
GRANT_FRAMES = 4
GRANT_VERSION_1 = 1
ENTRY_BYTES = 8

op = static(abi.xen_domctl)
context = static(abi.vcpu_guest_context)


@struct
class Child:
    domain: u64
    frames: Array[u64, NR_PAGES]
    data: u64  # where we see its page of data


def domctl(command: u32, domain: u64) -> i64:
    """Make a domctl of what is in `op.u`."""
    op.cmd = command
    op.interface_version = abi.XEN_DOMCTL_INTERFACE_VERSION
    op.domain = u16(domain)
    return hypercall(abi.__HYPERVISOR_domctl, u64(ref(op)), 0, 0, 0, 0)


def create_child(child: Ptr[Child], program: Slice[u8], argument: u64) -> None:
    """Make a paused domain with a program: rdi is its page of data, rsi the argument."""
    create_domain(child)
    populate(child)
    child.data = see(child, DATA)
    code = see(child, CODE)
    copy_slice(Slice[u8](Ptr[u8](code), len(program)), program)
    forget(code)
    write_tables(child)
    start_at(child, argument)


def create_domain(child: Ptr[Child]) -> None:
    zero(ref(op))
    op.u.createdomain.max_vcpus = 1
    op.u.createdomain.max_evtchn_port = MAX_PORT
    op.u.createdomain.max_grant_frames = GRANT_FRAMES
    op.u.createdomain.max_maptrack_frames = GRANT_FRAMES
    op.u.createdomain.grant_opts = GRANT_VERSION_1
    expect(b"createdomain", domctl(abi.XEN_DOMCTL_createdomain, 0), 0)
    child.domain = u64(op.domain)
    op.u.max_vcpus.max = 1
    expect(b"max_vcpus", domctl(abi.XEN_DOMCTL_max_vcpus, child.domain), 0)
    op.u.max_mem.max_memkb = MAX_KIB
    expect(b"max_mem", domctl(abi.XEN_DOMCTL_max_mem, child.domain), 0)


def populate(child: Ptr[Child]) -> None:
    """Give the child memory; the page numbers turn into frame numbers."""
    for i in range(NR_PAGES):
        child.frames[i] = i
    wanted = abi.xen_memory_reservation(
        extent_start=Guest[u64](u64(ref(child.frames))),
        nr_extents=NR_PAGES,
        domid=u16(child.domain),
    )
    given = hypercall(
        abi.__HYPERVISOR_memory_op, abi.XENMEM_populate_physmap, u64(ref(wanted)), 0, 0, 0
    )
    expect(b"populate_physmap", given, NR_PAGES)


def see(child: Ptr[Child], page: u64) -> u64:
    """Let a page of our address space show a frame of the child.

    Returns: its address.
    """
    address = alloc_pages(1)
    result = hypercall(
        abi.__HYPERVISOR_update_va_mapping_otherdomain,
        address,
        child.frames[page] << PAGE_SHIFT | PTE_KERNEL,
        abi.UVMF_INVLPG,
        child.domain,
        0,
    )
    expect(b"update_va_mapping_otherdomain", result, 0)
    return address


def forget(address: u64) -> None:
    """Stop seeing a frame: no frame is a page table while anybody can write to it."""
    expect(b"unmap", update_va_mapping(address, 0, abi.UVMF_INVLPG), 0)


def write_tables(child: Ptr[Child]) -> None:
    """Map code, stack and data at BASE, each at its own number."""
    for level in range(L1):
        put_entry(child, level, BASE >> (39 - 9 * level) & 511, child.frames[level + 1], PTE_TABLE)
    table = see(child, L1)
    for page in range(CODE, NR_PAGES):
        entry = child.frames[page] << PAGE_SHIFT | PTE_KERNEL | PTE_USER
        store(Ptr[u64](table + page * ENTRY_BYTES), entry)
    forget(table)


def put_entry(child: Ptr[Child], table: u64, index: u64, frame: u64, flags: u64) -> None:
    page = see(child, table)
    store(Ptr[u64](page + index * ENTRY_BYTES), frame << PAGE_SHIFT | flags)
    forget(page)


def start_at(child: Ptr[Child], argument: u64) -> None:
    """Set the first registers."""
    zero(ref(context))
    context.flags = abi.VGCF_in_kernel | abi.VGCF_online
    context.user_regs.rip = BASE + CODE * PAGE_SIZE
    context.user_regs.rsp = BASE + (STACK + 1) * PAGE_SIZE
    context.user_regs.rdi = BASE + DATA * PAGE_SIZE
    context.user_regs.rsi = argument
    context.user_regs.cs = abi.FLAT_KERNEL_CS
    context.user_regs.ss = abi.FLAT_KERNEL_SS
    context.kernel_ss = abi.FLAT_KERNEL_SS
    context.kernel_sp = BASE + (STACK + 1) * PAGE_SIZE
    context.ctrlreg[3] = child.frames[L4] << PAGE_SHIFT
    op.u.vcpucontext.vcpu = 0
    op.u.vcpucontext.ctxt = Guest[abi.vcpu_guest_context](u64(ref(context)))
    expect(b"setvcpucontext", domctl(abi.XEN_DOMCTL_setvcpucontext, child.domain), 0)
