"""A second domain, made by domctl, in which the first one has hypercalls made: the view of a domain
without privileges.
"""

import abi
from kpy import (
    Array,
    Guest,
    Ptr,
    Slice,
    barrier,
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
    volatile_load,
    volatile_store,
)

from libos.hypercall import hypercall
from libos.layout import PAGE_SHIFT, PAGE_SIZE
from libos.memory import PTE_KERNEL, PTE_READ_ONLY, PTE_TABLE, machine_address
from libos.pages import alloc_pages
from libos.time import NS_PER_SECOND, system_time_ns
from tests.guests.kernels.probes.second_layout import (
    BUFFER_OFFSET,
    MAILBOX,
    NR_PAGES,
    REQUEST_CALL,
    REQUEST_LOAD,
    REQUEST_NONE,
    SECOND_BASE,
    address,
    page_number,
)

L4, L3, L2, L1 = (page_number(name) for name in ("l4", "l3", "l2", "l1"))
CODE, MAILBOX_PAGE, STACK = (page_number(name) for name in ("code", "mailbox", "stack"))
SHARED_INFO, HOLE = page_number("shared_info"), page_number("hole")
VCPU_INFO, DATA, GRANTS = (page_number(name) for name in ("vcpu_info", "data", "grants"))
STACK_END = address("stack") + PAGE_SIZE
ENTRY = address("code")
HOLE_ADDRESS = address("hole")
BUFFER = MAILBOX + BUFFER_OFFSET
PATIENCE_NS = 600 * NS_PER_SECOND  # that we wait for an answer
NO_ANSWER = -9999
EFLAGS_IF = 0x200


NEWEST = 0x17  # domctl's version in Xen 4.20


@struct
class Mailbox:
    request: u64
    number: u64
    arguments: Array[u64, 5]
    result: i64


second_kernel = static(u8, extern=True, symbol="second_kernel")
second_kernel_end = static(u8, extern=True, symbol="second_kernel_end")
domid = static(u16)
frames = static(Array[u64, NR_PAGES])
window = static(u64)  # where we see its pages
request = static(abi.xen_domctl)
trial = static(abi.xen_domctl)
spoken = static(u32)  # the version of domctl; 0: not known yet
context = static(abi.vcpu_guest_context)
reservation = static(abi.xen_memory_reservation)
extended = static(abi.mmuext_op)


def domctl(command: u32, domain: u16) -> i64:
    """Make a domctl with the arguments in `request.u`."""
    request.cmd = command
    request.interface_version = domctl_version()
    request.domain = domain
    return hypercall(abi.__HYPERVISOR_domctl, u64(ref(request)), 0, 0, 0, 0)


def domctl_version() -> u32:
    """Return the version of domctl that this hypervisor speaks: Xen 4.17's or a later one."""
    global spoken
    if spoken == 0:
        spoken = abi.XEN_DOMCTL_INTERFACE_VERSION
        while spoken < NEWEST and not speaks(spoken):
            spoken += 1
    return spoken


def speaks(version: u32) -> bool:
    """Try a version."""
    trial.cmd = abi.XEN_DOMCTL_getdomaininfo
    trial.interface_version = version
    trial.domain = 0
    return hypercall(abi.__HYPERVISOR_domctl, u64(ref(trial)), 0, 0, 0, 0) != -abi.EACCES


def control(command: u32) -> i64:
    """Make a domctl about the second domain."""
    return domctl(command, domid)


def page(number: u64) -> u64:
    """Where we see one of its pages."""
    return window + number * PAGE_SIZE


def populate() -> i64:
    """Give it its pages. Returns: how many."""
    for i in range(NR_PAGES):
        frames[i] = u64(i)
    reservation.extent_start = Guest[u64](u64(ref(frames)))
    reservation.nr_extents = NR_PAGES
    reservation.extent_order = 0
    reservation.mem_flags = 0
    reservation.domid = domid
    return hypercall(
        abi.__HYPERVISOR_memory_op, abi.XENMEM_populate_physmap, u64(ref(reservation)), 0, 0, 0
    )


def map_foreign(to: u64, frame: u64, flags: u64) -> i64:
    """Map a frame of the second domain at an address of ours."""
    return hypercall(
        abi.__HYPERVISOR_update_va_mapping_otherdomain,
        to,
        frame << PAGE_SHIFT | flags,
        abi.UVMF_INVLPG,
        u64(domid),
        0,
    )


def map_pages() -> i64:
    """Map all its pages, and clear what came in them. Returns: 0 or an error."""
    global window
    window = alloc_pages(NR_PAGES)
    for i in range(NR_PAGES):
        result = map_foreign(page(u64(i)), frames[i], PTE_KERNEL)
        if result != 0:
            return result
        for word in range(PAGE_SIZE // 8):
            store(Ptr[u64](page(u64(i)) + 8 * word), 0)
    return 0


def set_entry(table: u64, index: u64, value: u64) -> None:
    store(Ptr[u64](page(table) + 8 * index), value)


def fill_pages(shared_info_frame: u64) -> None:
    """Write its kernel and its page tables."""
    size = u64(ref(second_kernel_end)) - u64(ref(second_kernel))
    copy_slice(
        Slice[u8](Ptr[u8](page(CODE)), size), Slice[u8](Ptr[u8](u64(ref(second_kernel))), size)
    )
    for i in range(NR_PAGES):
        frame = frames[i]
        flags: u64 = PTE_KERNEL
        if i == SHARED_INFO:
            frame = shared_info_frame
        elif L4 <= i <= L1:
            flags = PTE_READ_ONLY
        if i != HOLE:
            set_entry(L1, u64(i), frame << PAGE_SHIFT | flags)
    set_entry(L2, SECOND_BASE >> 21 & 511, frames[L1] << PAGE_SHIFT | PTE_TABLE)
    set_entry(L3, SECOND_BASE >> 30 & 511, frames[L2] << PAGE_SHIFT | PTE_TABLE)
    set_entry(L4, SECOND_BASE >> 39 & 511, frames[L3] << PAGE_SHIFT | PTE_TABLE)


def show_shared_info(frame: u64) -> u64:
    """Map its shared_info, where nobody has masked its events yet. Returns: the first mask."""
    assert map_foreign(page(SHARED_INFO), frame, PTE_KERNEL) == 0
    info = ref(Ptr[abi.shared_info](page(SHARED_INFO)).vcpu_info[0])
    first = u64(info.evtchn_upcall_mask)
    info.evtchn_upcall_mask = 1
    return first


def protect_tables() -> i64:
    """What becomes a page table must not be mapped writable. Returns: 0 or an error."""
    for i in range(L4, L1 + 1):
        result = map_foreign(page(u64(i)), frames[i], PTE_READ_ONLY)
        if result != 0:
            return result
    return 0


def pin(command: u32, number: u64) -> i64:
    """Pin or unpin one of its tables."""
    extended.cmd = command
    extended.arg1.mfn = frames[number]
    return hypercall(abi.__HYPERVISOR_mmuext_op, u64(ref(extended)), 1, 0, u64(domid), 0)


def describe_registers() -> None:
    """Fill `context`: the kernel's entry, its stack and its page tables."""
    context.flags = abi.VGCF_in_kernel | abi.VGCF_online
    context.user_regs.rip = ENTRY
    context.user_regs.rsp = STACK_END
    context.user_regs.rflags = EFLAGS_IF
    context.user_regs.cs = abi.FLAT_KERNEL_CS64
    context.user_regs.ss = abi.FLAT_KERNEL_SS64
    context.kernel_ss = abi.FLAT_KERNEL_SS64
    context.kernel_sp = STACK_END
    context.ctrlreg[3] = frames[L4] << PAGE_SHIFT


def set_context(vcpu: u32) -> i64:
    request.u.vcpucontext.vcpu = vcpu
    request.u.vcpucontext.ctxt = Guest[abi.vcpu_guest_context](u64(ref(context)))
    return control(abi.XEN_DOMCTL_setvcpucontext)


def forget_pages() -> None:
    """Put our own frames back where we saw its pages."""
    for i in range(NR_PAGES):
        own = machine_address(page(u64(i))) | PTE_KERNEL
        hypercall(abi.__HYPERVISOR_update_va_mapping, page(u64(i)), own, abi.UVMF_INVLPG, 0, 0)


def mailbox() -> Ptr[Mailbox]:
    return Ptr[Mailbox](page(MAILBOX_PAGE))


def buffer() -> u64:
    """Where we see the structures that are at BUFFER there."""
    return page(MAILBOX_PAGE) + BUFFER_OFFSET


def ask(kind: u64) -> i64:
    """Have a request done. Returns: its result, or NO_ANSWER."""
    box = mailbox()
    barrier()
    volatile_store(ref(box.request), kind)
    return volatile_load(ref(box.result)) if is_served() else NO_ANSWER


def is_served() -> bool:
    """Wait until it has nothing more to do. Returns: False when it takes too long."""
    deadline = system_time_ns() + PATIENCE_NS
    while volatile_load(ref(mailbox().request)) != REQUEST_NONE:
        if system_time_ns() > deadline:
            volatile_store(ref(mailbox().request), REQUEST_NONE)
            return False
        give_way()
    return True


def give_way() -> None:
    hypercall(abi.__HYPERVISOR_sched_op, abi.SCHEDOP_yield, 0, 0, 0, 0)


def suspend() -> bool:
    """Have it suspend itself, a request without an answer. Returns: whether it has."""
    box = mailbox()
    box.number = abi.__HYPERVISOR_sched_op
    box.arguments[0] = abi.SCHEDOP_shutdown
    box.arguments[1] = BUFFER
    store(Ptr[u64](buffer()), abi.SHUTDOWN_suspend)
    barrier()
    volatile_store(ref(box.request), REQUEST_CALL)
    deadline = system_time_ns() + PATIENCE_NS
    while system_time_ns() < deadline:
        control(abi.XEN_DOMCTL_getdomaininfo)
        if request.u.getdomaininfo.flags & abi.XEN_DOMINF_shutdown:
            return True
        give_way()
    return False


def second_call(number: u64, a: u64, b: u64, c: u64, d: u64) -> i64:
    """Have it make a hypercall."""
    box = mailbox()
    box.number = number
    box.arguments[0] = a
    box.arguments[1] = b
    box.arguments[2] = c
    box.arguments[3] = d
    box.arguments[4] = 0
    return ask(REQUEST_CALL)


def second_load(where: u64) -> u64:
    """Have it read a word."""
    mailbox().arguments[0] = where
    return u64(ask(REQUEST_LOAD))
