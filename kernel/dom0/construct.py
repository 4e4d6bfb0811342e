"""Building domain 0 from the boot modules: its kernel, an ELF file, then perhaps a ramdisk.

Options of the core's command line: `dom0_mem=SIZE[,max:SIZE]`, `dom0_max_vcpus=N`. Whatever is
wrong stops the boot with a sentence on the console: without domain 0 there is nothing to do.
"""

import abi
from kpy import (
    Array,
    Ptr,
    Slice,
    Tainted,
    build_time,
    i8,
    panic,
    ref,
    saturating_sub,
    static,
    truncate,
    u8,
    u32,
    u64,
)

from kernel.base.cmdline import COMMA, SPACE, option, option_number, parse_size
from kernel.base.ids import PAGE_SHIFT, PAGE_SIZE, DomId, Mfn, Vaddr, maddr_to_mfn, mfn_or_0
from kernel.console.console import printk
from kernel.dom0.elf import (
    PT_LOAD,
    ElfHeader,
    KernelImage,
    program_header,
    read_kernel,
    view,
)
from kernel.dom0.layout import Layout, plan, round_up
from kernel.dom0.memory import clear, frame_address, populate, write
from kernel.dom0.screen_info import describe_screen
from kernel.dom0.tables import build_tables
from kernel.domain.life import alloc_vcpu, create_domain
from kernel.frames.allocation import free_boot_frames, free_frames
from kernel.paging.base_pointer import L4, pin_table, set_guest_tables
from kernel.sched.pause import domain_unpause_by_controller
from kernel.state.domain import Domain
from kernel.state.vcpu import MAX_VCPUS, Vcpu, VPF_down
from kernel.x86 import boot_info
from kernel.x86.bits import EFLAGS_IF
from kernel.x86.hypercall_page import fill_hypercall_page
from kernel.x86.memlayout import maddr_to_vaddr
from kernel.x86.percpu import nr_cpus

DEFAULT_BYTES = 1 << 30
SMALL_BYTES = 320 << 20  # what a Linux with the toolstack needs, on a machine with little more
KEPT_FOR_OTHERS = 64 << 20
COLON, LETTER_A = ord(":"), ord("a")


@build_time
def padded(text, size):
    """Return a text as a list of bytes, filled up with zeros."""
    return list(text.encode().ljust(size, b"\0"))


magic = static(Array[u8, 32], padded("xen-3.0-x86_64", 32))
layout = static(Layout)
image = static(KernelImage)


def construct_dom0() -> Ptr[Domain]:
    """Build domain 0 and make its first vCPU ready to run. Context: boot, once, last."""
    if boot_info.nr_modules == 0:
        panic('no boot modules: domain 0 needs a kernel (QEMU: -initrd "vmlinux ARGS,initramfs")')
    kernel = boot_info.module(0)
    ramdisk_bytes: u64 = 0
    ramdisk: Mfn | None = None
    if boot_info.nr_modules > 1:
        ramdisk_bytes = boot_info.module(1).size
        ramdisk = maddr_to_mfn(boot_info.module(1).start)
    # RAM that stays reserved
    file = Slice[u8](Ptr[u8](u64(maddr_to_vaddr(kernel.start))), kernel.size)
    read_kernel(file, ref(image))
    d = create_dom0()
    size, largest = memory_wanted()
    d.max_pages = u32(largest >> PAGE_SHIFT)
    plan(ref(layout), ref(image), size >> PAGE_SHIFT, ramdisk_bytes)
    if max(layout.p2m_pfn + layout.nr_p2m + layout.nr_p2m_tables, layout.nr_boot) > layout.nr_pages:
        panic("domain 0's memory is too small for its kernel and ramdisk: raise dom0_mem=")
    populate(d, ref(layout), ramdisk)
    load_kernel()
    free_boot_frames(maddr_to_mfn(kernel.start), round_up(kernel.size, PAGE_SIZE) >> PAGE_SHIFT)
    l4 = build_tables(ref(layout))
    write_start_info(d, kernel.command_line(), ramdisk_bytes)
    start_first_vcpu(d, l4)
    printk(
        f"domain 0: {size >> 20} MiB, {d.max_vcpus} vCPUs, kernel {image.start:#x}-{image.end:#x}"
    )
    return d


def create_dom0() -> Ptr[Domain]:
    """Create the domain and its vCPUs."""
    nr_vcpus = min(max(option_number(b"dom0_max_vcpus", u64(nr_cpus)), 1), MAX_VCPUS)
    config = Tainted[abi.xen_domctl_createdomain]()
    config.max_vcpus = u32(nr_vcpus)
    config.max_evtchn_port = (1 << 32) - 1
    config.max_grant_frames = -1
    config.grant_opts = 1  # version
    config.max_maptrack_frames = -1
    made = create_domain(ref(config), DomId(0))
    if made.error != 0:
        panic("domain 0 cannot be created: not enough memory")
    d = made.value
    for i in range(u32(nr_vcpus)):
        if alloc_vcpu(d, i) is None:
            panic("no memory for domain 0's vCPUs")
    return d


def memory_wanted() -> tuple[u64, u64]:
    """Return how many bytes domain 0 has at first and at most, from `dom0_mem=`."""
    available = saturating_sub(free_frames() << PAGE_SHIFT, KEPT_FOR_OTHERS)
    size: u64 = 0
    largest: u64 = 0
    text = option(b"dom0_mem")
    start: u64 = 0
    while start < len(text):
        end = start
        while end < len(text) and text[end] != COMMA:
            end += 1
        if end - start > 4 and text[start + 3] == COLON:
            if text[start + 1] == LETTER_A:  # max:, not min:
                largest = parse_size(text[start + 4 : end], 0)
        else:
            size = parse_size(text[start:end], 0)
        start = end + 1
    if size == 0:
        size = min(DEFAULT_BYTES, max(available // 2, SMALL_BYTES))
    size = min(size, available) // PAGE_SIZE * PAGE_SIZE
    return size, max(size, largest)


def load_kernel() -> None:
    """Copy the kernel's segments, and fill the hypercall page."""
    for i in range(u64(view(ElfHeader, image.file, 0).phnum)):
        segment = program_header(image.file, i)
        if segment.type == PT_LOAD and segment.memsz != 0:
            to = image.segment_address(segment)
            if segment.offset + segment.filesz > len(image.file) or segment.filesz > segment.memsz:
                panic("domain 0's kernel: a segment lies outside the ELF file")
            write(ref(layout), to, image.file[segment.offset : segment.offset + segment.filesz])
            clear(ref(layout), to + segment.filesz, segment.memsz - segment.filesz)
    page = image.hypercall_page
    if page is not None:
        if not image.start <= u64(page) < image.end:
            panic("domain 0's kernel: its hypercall page lies outside of it")
        fill_hypercall_page(Vaddr(frame_address(ref(layout), u64(page))))


def write_start_info(d: Ptr[Domain], text: Slice[u8], ramdisk_bytes: u64) -> None:
    """Write what the kernel finds in rsi."""
    clear(ref(layout), layout.start_info, PAGE_SIZE)
    info = Ptr[abi.start_info](frame_address(ref(layout), layout.start_info))  # a frame of its own
    info.magic = magic
    info.nr_pages = layout.nr_pages
    info.shared_info = mfn_or_0(d.shared_info_mfn) << PAGE_SHIFT
    info.flags = abi.SIF_PRIVILEGED | abi.SIF_INITDOMAIN
    info.pt_base = layout.tables
    info.nr_pt_frames = layout.nr_tables
    info.mfn_list = layout.p2m
    if layout.nr_p2m_tables != 0:
        info.first_p2m_pfn = layout.p2m_pfn
        info.nr_p2m_frames = layout.nr_p2m + layout.nr_p2m_tables
    if ramdisk_bytes != 0:
        info.mod_len = ramdisk_bytes
        info.mod_start = layout.ramdisk
        if not layout.maps_ramdisk:
            info.mod_start = layout.ramdisk_pfn
            info.flags |= abi.SIF_MOD_START_PFN
    describe_screen(info)
    arguments = without_name(text)
    length = min(len(arguments), abi.MAX_GUEST_CMDLINE - 1)
    for i in range(length):
        info.cmd_line[i] = truncate(i8, arguments[i])


def without_name(text: Slice[u8]) -> Slice[u8]:
    """Return a module's command line without the file name in front."""
    start: u64 = 0
    while start < len(text) and text[start] != SPACE:
        start += 1
    while start < len(text) and text[start] == SPACE:
        start += 1
    return text[start : len(text)]


def start_first_vcpu(d: Ptr[Domain], l4: Mfn) -> None:
    """Pin the page tables, and let vCPU 0 run."""
    v = d.vcpus[0]
    assert v is not None
    result = pin_table(v, d, l4, L4)
    while result == -abi.ERESTART:
        result = pin_table(v, d, l4, L4)
    assert result == 0, "domain 0's page tables are not valid"
    result = set_guest_tables(v, l4, None)
    assert result == 0, "domain 0's page tables cannot be used"
    v.cr3 = u64(l4) << PAGE_SHIFT
    v.kernel_mode = True
    set_first_registers(v)
    for i in range(abi.XEN_LEGACY_MAX_VCPUS):
        d.shared_info.vcpu_info[i].evtchn_upcall_mask = 1
    v.initialised = True
    v.pause_flags &= ~u32(VPF_down)
    domain_unpause_by_controller(d)


def set_first_registers(v: Ptr[Vcpu]) -> None:
    """Let a vCPU begin at the kernel's entry, as the ABI says ("start of day")."""
    regs = ref(v.regs)
    regs.rip = image.entry
    regs.rsp = layout.stack_end
    regs.rsi = layout.start_info
    regs.rflags = EFLAGS_IF
    regs.cs = abi.FLAT_KERNEL_CS
    regs.ss = abi.FLAT_KERNEL_SS
    regs.ds = abi.FLAT_KERNEL_DS
    regs.es = abi.FLAT_KERNEL_DS
