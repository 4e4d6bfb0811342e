"""Build a paravirtual domain: give it memory, load the kernel, hand over the first vCPU.

The steps are those of every PV loader: populate the frames, copy the images, make page tables and
have the hypervisor pin them, fill start_info, set the vCPU's registers. No mapping of the guest's
memory is kept, because a frame that we can write to can never become a page table.
"""

from array import array
from dataclasses import dataclass

import xen_codecs as abi
from xen import domctl, memory
from xen.privcmd import PAGE_SIZE, HypercallError

from xend.layout import Layout
from xend.pagetables import PageTables

EFLAGS_IF = 0x200
DOM0 = 0
LARGE_ORDER = 9
SLACK_KIB = 1024


@dataclass(frozen=True)
class Images:
    """What a domain is built from: a Kernel, the bytes of a ramdisk (or empty), a command line."""

    kernel: object
    ramdisk: memoryview
    cmdline: str


@dataclass(frozen=True)
class Built:
    """What the rest of the toolstack needs to know of a new domain."""

    store_mfn: int
    store_port: int
    console_mfn: int
    console_port: int


def plan(images, memory_mib):
    """Return the Layout. Errors: TooLittleMemory."""
    return Layout(images.kernel, memory_mib << 8, len(images.ramdisk))


def build(xc, domid, images, layout, vcpus):
    """Fill a domain that has just been created, and leave it paused at its kernel's entry.

    Errors: HypercallError; the domain is then half made and must be destroyed.
    """
    domctl.max_vcpus(xc, domid, vcpus)
    domctl.max_mem(xc, domid, layout.nr_pages * 4 + SLACK_KIB)
    memory.set_memory_map(xc, domid, layout.nr_pages * PAGE_SIZE)
    return _Builder(xc, domid, images, layout).build()


class _Builder:
    """The state of one build. `p2m` is the guest's frame list: array('Q'), machine frame by pfn."""

    def __init__(self, xc, domid, images, layout):
        self.xc, self.domid, self.images, self.layout = xc, domid, images, layout
        self.p2m = populate(xc, domid, layout.nr_pages)

    def build(self):
        self.load_images()
        for name in ("store", "console"):
            self.copy(self.layout[name].pfn * PAGE_SIZE, b"", PAGE_SIZE)
        self.store_port = memory.alloc_unbound(self.xc, self.domid, DOM0)
        self.console_port = memory.alloc_unbound(self.xc, self.domid, DOM0)
        tables = self.make_tables()
        self.write_start_info()
        self.mask_events()
        self.seed_grants()
        memory.pin_l4_table(self.xc, self.domid, self.p2m[tables.top_pfn])
        self.set_registers(tables.top_pfn)
        return Built(self.mfn("store"), self.store_port, self.mfn("console"), self.console_port)

    def mfn(self, name):
        """Return the machine frame of an extent's first page."""
        return self.p2m[self.layout[name].pfn]

    def map(self, pfn, pages):
        """Map some of the guest's frames."""
        return self.xc.map_foreign(self.domid, self.p2m[pfn : pfn + pages])

    def load_images(self):
        """Copy kernel, ramdisk and frame list, and write the hypercall page."""
        kernel, layout = self.images.kernel, self.layout
        for segment in kernel.segments:
            offset = segment.vaddr - kernel.virt_base
            self.copy(offset, segment.data, segment.size_bytes)
        self.copy(layout["ramdisk"].pfn * PAGE_SIZE, self.images.ramdisk)
        self.copy(layout["p2m"].pfn * PAGE_SIZE, memoryview(self.p2m).cast("B"))
        if kernel.hypercall_page is not None:
            pfn = (kernel.hypercall_page - kernel.virt_base) // PAGE_SIZE
            domctl.hypercall_init(self.xc, self.domid, self.p2m[pfn])

    def copy(self, offset, data, size_bytes=None):
        """Copy data to an offset in the guest's memory, with zeros up to `size_bytes`."""
        size_bytes = size_bytes or len(data)
        if not size_bytes:
            return
        first = offset // PAGE_SIZE
        pages = (offset + size_bytes - 1) // PAGE_SIZE - first + 1
        start = offset % PAGE_SIZE
        with self.map(first, pages) as mapping:
            mapping.view[start : start + len(data)] = data
            mapping.view[start + len(data) : start + size_bytes] = bytes(size_bytes - len(data))

    def make_tables(self):
        """Write the first page tables and return them."""
        kernel, layout = self.images.kernel, self.layout
        frames = iter(range(layout["pagetables"].pfn, layout["pagetables"].end))
        tables = PageTables(self.p2m, next(frames))
        tables.map(kernel.virt_base, 0, layout.mapped_end, frames)
        if kernel.init_p2m is not None:
            own = iter(range(layout["p2m_tables"].pfn, layout["p2m_tables"].end))
            tables.map(kernel.init_p2m, layout["p2m"].pfn, layout["p2m"].pages, own)
        tables.protect()
        mfns = array("Q", [self.p2m[pfn] for pfn in tables.tables])
        with self.xc.map_foreign(self.domid, mfns) as mapping:
            for index, table in enumerate(tables.tables.values()):
                mapping.view[index * PAGE_SIZE : (index + 1) * PAGE_SIZE] = memoryview(table).cast(
                    "B"
                )
        return tables

    def write_start_info(self):
        """Fill the page that tells the kernel where everything is."""
        layout, kernel = self.layout, self.images.kernel
        info = abi.start_info()
        info.magic = b"xen-3.0-x86_64"
        info.nr_pages = layout.nr_pages
        info.shared_info = self.shared_info_mfn() * PAGE_SIZE
        info.flags = abi.SIF_VIRT_P2M_4TOOLS
        info.store_mfn, info.store_evtchn = self.mfn("store"), self.store_port
        info.console.domU.mfn = self.mfn("console")
        info.console.domU.evtchn = self.console_port
        info.pt_base = layout.virtual("pagetables")
        info.nr_pt_frames = layout["pagetables"].pages
        info.mfn_list = layout.virtual("p2m")
        if kernel.init_p2m is not None:
            info.mfn_list = kernel.init_p2m
            info.first_p2m_pfn = layout["p2m"].pfn
            info.nr_p2m_frames = layout["p2m"].pages + layout["p2m_tables"].pages
        self.describe_ramdisk(info)
        self.copy(layout["start_info"].pfn * PAGE_SIZE, with_cmdline(info, self.images.cmdline))

    def describe_ramdisk(self, info):
        """Name the ramdisk by frame or by address, as the kernel asked for."""
        if not self.images.ramdisk:
            return
        info.mod_len = len(self.images.ramdisk)
        if self.images.kernel.mod_start_pfn:
            info.flags |= abi.SIF_MOD_START_PFN
            info.mod_start = self.layout["ramdisk"].pfn
        else:
            info.mod_start = self.layout.virtual("ramdisk")

    def shared_info_mfn(self):
        """Return the machine frame of the domain's shared_info."""
        return domctl.getdomaininfo(self.xc, self.domid).shared_info_frame

    def mask_events(self):
        """Start every vCPU with event delivery off, as the kernel has no entry point for it yet."""
        with self.xc.map_foreign(self.domid, array("Q", [self.shared_info_mfn()])) as mapping:
            mapping.view[:] = bytes(PAGE_SIZE)
            shared = abi.shared_info.from_address(mapping.address)
            for vcpu in shared.vcpu_info:
                vcpu.evtchn_upcall_mask = 1

    def seed_grants(self):
        """Grant dom0 the console and xenstore pages, at the references that the ABI reserves."""
        kind, table = abi.XENMEM_resource_grant_table, abi.XENMEM_resource_grant_table_id_shared
        with self.xc.map_resource(self.domid, kind, table, 0, 1) as mapping:
            entries = (abi.grant_entry_v1 * 2).from_address(mapping.address)
            for reference, name in (
                (abi.GNTTAB_RESERVED_CONSOLE, "console"),
                (abi.GNTTAB_RESERVED_XENSTORE, "store"),
            ):
                entries[reference].frame = self.mfn(name)
                entries[reference].domid = DOM0
                entries[reference].flags = abi.GTF_permit_access

    def set_registers(self, top_pfn):
        """Point the first vCPU at the kernel's entry, with start_info in rsi."""
        context = abi.vcpu_guest_context()
        context.flags = abi.VGCF_in_kernel | abi.VGCF_online
        registers = context.user_regs
        registers.rip = self.images.kernel.entry
        registers.rsp = self.layout.virtual("stack") + PAGE_SIZE
        registers.rsi = self.layout.virtual("start_info")
        registers.rflags = EFLAGS_IF
        registers.cs = abi.FLAT_KERNEL_CS64
        registers.ss = context.kernel_ss = abi.FLAT_KERNEL_SS64
        context.kernel_sp = registers.rsp
        context.ctrlreg[3] = self.p2m[top_pfn] * PAGE_SIZE
        domctl.setvcpucontext(self.xc, self.domid, 0, context)


def populate(xc, domid, nr_pages):
    """Give a domain its pages, in 2 MiB extents while the machine has them; returns its frame list.

    Errors: HypercallError ENOMEM, the machine's memory ran out.
    """
    large = array("Q", range(0, nr_pages - nr_pages % 512, 512))
    mfns = memory.populate_physmap(xc, domid, large, LARGE_ORDER)
    p2m = array("Q")
    for mfn in mfns:
        p2m.extend(range(mfn, mfn + 512))
    p2m += memory.populate_physmap(xc, domid, array("Q", range(len(p2m), nr_pages)), 0)
    if len(p2m) < nr_pages:
        raise HypercallError(12, "XENMEM_populate_physmap")
    return p2m


def with_cmdline(info, cmdline):
    """Return start_info's bytes with the command line in it, cut to what fits and ended by NUL."""
    field = abi.start_info.cmd_line
    text = cmdline.encode()[: field.size - 1]
    page = bytearray(info)
    page[field.offset : field.offset + len(text)] = text
    return page
