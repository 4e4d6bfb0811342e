"""A guest of the model: its address space, its hypercalls, and how dom0 makes one.

Every guest begins alike: page `n` of its memory is at BASE + n * PAGE, mapped writable but for the
four page tables, which are its first pages.
"""

import ctypes

import abi
from kpy.front.structs import size_of
from kpy.jit.memory import View

from kernel.base.ids import PAGE_SIZE as PAGE
from tests.model import drive

BASE = 0xFFFFFFFF80000000
NR_TABLES = 4  # L4, L3, L2, L1: pages 0 to 3
ARGUMENTS = BASE + 4 * PAGE  # where `put` places structures
ARGUMENT_PAGES = 4
STACK_PAGE = 8
FIRST_DATA_PAGE = 9
DATA = BASE + FIRST_DATA_PAGE * PAGE
STACK = BASE + (STACK_PAGE + 1) * PAGE  # where it begins
MOV_RDI_RAX = bytes.fromhex("488907")  # stores rax where rdi points
PRESENT, WRITE, USER = 1, 2, 4
TABLE_FLAGS = PRESENT | WRITE | USER
CALLBACK = 0x402000


class Stopped(Exception):
    """A vCPU does not run, or no longer: its hypercall has no result."""


class GuestFault(Exception):
    """A guest's own access to its memory faulted."""


def make(type_, **fields):
    """Make a structure in memory of its own."""
    buffer = ctypes.create_string_buffer(size_of(type_) + 16)
    view = View(type_, (ctypes.addressof(buffer) + 15) // 16 * 16, [buffer])
    for name, value in fields.items():
        setattr(view, name, value)
    return view


class Guest:
    """One domain, as long as it exists."""

    def __init__(self, machine, domain, pages):
        self.machine, self.domain, self.pages = machine, domain, list(pages)
        self.id = domain.domain_id
        self.nr_vcpus = domain.max_vcpus
        self.put_at = ARGUMENTS

    def vcpu(self, number=0):
        return self.domain.vcpus[number]

    def call(self, number, *arguments, vcpu=0):
        """Make a hypercall, again as long as the core asks for that; return its result."""
        self.put_at = ARGUMENTS
        full = [argument & (1 << 64) - 1 for argument in (*arguments, *[0] * 5)][:5]
        outcome, result = self.machine["tests.model.drive.hypercall"](
            self.vcpu(vcpu), number, *full
        )
        if outcome != drive.CALL_DONE:
            raise Stopped(f"d{self.id}v{vcpu}: hypercall {number} did not return")
        return result

    def put(self, what, **fields):
        """Put a structure, or bytes, or a list of 64-bit words, where the next call can name it."""
        if isinstance(what, list):
            data = b"".join((word & (1 << 64) - 1).to_bytes(8, "little") for word in what)
        else:
            data = what if isinstance(what, bytes) else bytes(make(what, **fields))
        address = self.put_at
        self.put_at += (len(data) + 15) // 16 * 16
        self.write(address, data)
        return address

    def get(self, type_, address):
        """Return a copy of a structure in the guest's memory."""
        view = make(type_)
        self._access(address, int(view), size_of(type_), 0)
        return view

    def words(self, address, count):
        """Return 64-bit words of the guest's memory."""
        buffer = (ctypes.c_uint64 * count)()
        self._access(address, ctypes.addressof(buffer), 8 * count, 0)
        return list(buffer)

    def write(self, address, data, vcpu=0):
        """Write to memory as the guest does."""
        buffer = ctypes.create_string_buffer(data, len(data))
        self._access(address, ctypes.addressof(buffer), len(data), 1, vcpu)

    def _access(self, address, host, size, access, vcpu=0):
        left = self.machine["tests.model.drive.guest_access"](
            self.vcpu(vcpu), address, host, size, access
        )
        if left:
            raise GuestFault(f"d{self.id}: {address + size - left:#x}")


def write_tables(machine, pages):
    """Write page tables that map `pages` at BASE, themselves read-only; return the L4."""
    l4, l3, l2, l1 = pages[:NR_TABLES]
    for table in pages[:NR_TABLES]:
        machine.memory.page(table)[:] = machine.memory.nothing
    machine.memory.page(l4)[BASE >> 39 & 511] = l3 << 12 | TABLE_FLAGS
    machine.memory.page(l3)[BASE >> 30 & 511] = l2 << 12 | TABLE_FLAGS
    machine.memory.page(l2)[BASE >> 21 & 511] = l1 << 12 | TABLE_FLAGS
    entries = machine.memory.page(l1)
    for number, mfn in enumerate(pages):
        entries[number] = mfn << 12 | PRESENT | USER | (WRITE if number >= NR_TABLES else 0)
    return l4


def create_guest(machine, nr_pages=24, nr_vcpus=1, initialised=None):
    """Make a domain as dom0's toolstack does, and let it run: the first `initialised` of its vCPUs,
    or all.
    """
    dom0 = machine.dom0
    op = {"max_vcpus": nr_vcpus, "max_evtchn_port": 4095, "max_grant_frames": 4}
    op |= {"max_maptrack_frames": 16, "grant_opts": 1}
    domain_id = domctl(dom0, abi.XEN_DOMCTL_createdomain, 0, createdomain=op).domain
    domctl(dom0, abi.XEN_DOMCTL_max_vcpus, domain_id, max_vcpus={"max": nr_vcpus})
    domctl(dom0, abi.XEN_DOMCTL_max_mem, domain_id, max_mem={"max_memkb": 1024 * nr_pages})
    pages = populate(dom0, domain_id, nr_pages)
    l4 = write_tables(machine, pages)
    pin = dom0.put(abi.mmuext_op, cmd=abi.MMUEXT_PIN_L4_TABLE, arg1={"mfn": l4})
    assert dom0.call(abi.__HYPERVISOR_mmuext_op, pin, 1, 0, domain_id) == 0
    for number in range(nr_vcpus if initialised is None else initialised):
        set_context(dom0, domain_id, number, l4)
    domctl(dom0, abi.XEN_DOMCTL_unpausedomain, domain_id)
    return Guest(machine, machine.domain(domain_id), pages)


def domctl(dom0, command, domain_id, **u):
    """Make a domctl that must succeed; return the structure that came back."""
    result, back = try_domctl(dom0, command, domain_id, **u)
    assert result == 0, f"domctl {command}: {result}"
    return back


def try_domctl(dom0, command, domain_id, **u):
    """Make a domctl; return its result and the structure that came back."""
    version = abi.XEN_DOMCTL_INTERFACE_VERSION
    op = dom0.put(abi.xen_domctl, cmd=command, domain=domain_id, interface_version=version, u=u)
    result = dom0.call(abi.__HYPERVISOR_domctl, op)
    return result, dom0.get(abi.xen_domctl, op)


def populate(dom0, domain_id, nr_pages):
    """Give a domain its pages 0 to `nr_pages` - 1; return their frames."""
    extents = dom0.put(list(range(nr_pages)))
    request = dom0.put(
        abi.xen_memory_reservation, extent_start=extents, nr_extents=nr_pages, domid=domain_id
    )
    assert dom0.call(abi.__HYPERVISOR_memory_op, abi.XENMEM_populate_physmap, request) == nr_pages
    return dom0.words(extents, nr_pages)


def set_context(dom0, domain_id, number, l4):
    """Let a vCPU start in kernel mode on the stack page, with events masked."""
    context = make(abi.vcpu_guest_context)
    context.flags = abi.VGCF_in_kernel | abi.VGCF_online
    regs = context.user_regs
    regs.rip, regs.rsp, regs.rflags = drive.SYSCALL_AT, STACK, 0x202
    regs.cs, regs.ss = abi.FLAT_KERNEL_CS, abi.FLAT_KERNEL_SS
    context.kernel_ss, context.kernel_sp = abi.FLAT_KERNEL_SS, STACK
    context.event_callback_eip = context.failsafe_callback_eip = CALLBACK
    context.syscall_callback_eip = CALLBACK
    context.ctrlreg[3] = l4 << 12
    address = dom0.put(bytes(context))
    domctl(
        dom0,
        abi.XEN_DOMCTL_setvcpucontext,
        domain_id,
        vcpucontext={"vcpu": number, "ctxt": address},
    )
