"""Ways for a guest to go, each leaving something that the hypervisor must clean up."""

import abi
from kpy import Array, Ptr, Slice, extern, i64, ref, static, store, u8, u64, volatile_load

from drivers.blkfront import XVDA, Disk
from libos.console import say
from libos.event import disable_events, notify
from libos.grant import frames as grant_frames
from libos.grant import grant_access
from libos.hypercall import (
    event_channel_op,
    hypercall,
    sched_shutdown,
    set_callbacks,
    set_trap_table,
    update_va_mapping,
)
from libos.layout import PAGE_SHIFT, Mfn, Pfn, pfn_of
from libos.memory import PTE_KERNEL, PTE_READ_ONLY, machine_address, mfn_of
from libos.options import option_number
from libos.pages import alloc_pages
from libos.probe import probe_load
from libos.start_info import boot
from libos.text import same_text
from tests.guests.kernels.bad import NON_CANONICAL, UNMAPPED

NR_PINNED = 200
NR_GRANTED = 300
SYSCALL_NUMBER = 1 << 40
THEFT_STEP = 7
THEFT_FLAGS = static(Array[u64, 2], [PTE_KERNEL, PTE_READ_ONLY])

disk = static(Disk)
empty_table = static(abi.trap_info)


@extern
def wild_stack() -> None: ...


@extern
def wild_jump(address: u64) -> None: ...


@extern
def wild_system_call(number: u64) -> i64: ...


@extern
def wild_privileged() -> None: ...


def die(mode: Slice[u8]) -> None:
    """End in the way that a name says; returns when it did not work, or for an unknown name."""
    if same_text(mode, b"fault"):
        die_of_fault()
    elif same_text(mode, b"stack"):
        wild_stack()
    elif same_text(mode, b"iret"):
        hypercall(abi.__HYPERVISOR_iret, 0, 0, 0, 0, 0)
    elif same_text(mode, b"callback"):
        die_of_callback()
    elif same_text(mode, b"jump"):
        wild_jump(NON_CANONICAL)
    elif same_text(mode, b"cr3"):
        wild_privileged()
    elif same_text(mode, b"pinned"):
        die_pinned()
    elif same_text(mode, b"granted"):
        die_granted()
    elif same_text(mode, b"ports"):
        die_with_ports()
    elif same_text(mode, b"disk"):
        die_with_disk()
    elif same_text(mode, b"spin"):
        spin()
    elif same_text(mode, b"thief"):
        steal()
    elif same_text(mode, b"syscall"):
        say(f"hostile: result {wild_system_call(SYSCALL_NUMBER)}")


def die_of_fault() -> None:
    """A fault that nobody handles."""
    set_trap_table(0)
    set_trap_table(u64(ref(empty_table)))
    volatile_load(Ptr[u64](UNMAPPED))  # a plain load would be optimised away


def die_of_callback() -> None:
    """An event whose handler is not there."""
    set_callbacks(UNMAPPED, UNMAPPED)
    bind = abi.evtchn_bind_ipi(vcpu=0)
    event_channel_op(abi.EVTCHNOP_bind_ipi, ref(bind))
    unmask = abi.evtchn_unmask(port=bind.port)
    event_channel_op(abi.EVTCHNOP_unmask, ref(unmask))
    notify(bind.port)


def die_pinned() -> None:
    """Many pinned tables, one of them full of our frames, and no goodbye."""
    for _ in range(NR_PINNED):
        page = alloc_pages(1)
        for j in range(512):
            store(Ptr[u64](page + 8 * j), machine_address(boot().mfn_list) | PTE_READ_ONLY)
        update_va_mapping(page, machine_address(page) | PTE_READ_ONLY, abi.UVMF_INVLPG)
        pin = abi.mmuext_op(cmd=abi.MMUEXT_PIN_L1_TABLE)
        pin.arg1.mfn = u64(mfn_of(pfn_of(page)))
        hypercall(abi.__HYPERVISOR_mmuext_op, u64(ref(pin)), 1, 0, abi.DOMID_SELF, 0)
    sched_shutdown(abi.SHUTDOWN_crash)


def die_granted() -> None:
    """Grants to everybody, some mapped by ourselves."""
    page = alloc_pages(1)
    for i in range(NR_GRANTED):
        grant_access(0, page, i % 2 == 0)
    sched_shutdown(abi.SHUTDOWN_poweroff)


def die_with_ports() -> None:
    """Every event channel there is."""
    while True:
        bind = abi.evtchn_alloc_unbound(dom=abi.DOMID_SELF, remote_dom=0)
        if event_channel_op(abi.EVTCHNOP_alloc_unbound, ref(bind)) != 0:
            break
    sched_shutdown(abi.SHUTDOWN_reboot)


def die_with_disk() -> None:
    """A connected back end has our ring mapped."""
    if disk.open(XVDA):
        disk.read(0, alloc_pages(1), 8)
    sched_shutdown(abi.SHUTDOWN_crash)


def spin() -> None:
    """Never give up the CPU, never take an event: only the toolstack can end this."""
    disable_events()
    while True:
        pass


def steal() -> None:
    """Try to map frames of others, all over the machine, writable and read-only."""
    page = alloc_pages(1)
    nr_frames = u64(hypercall(abi.__HYPERVISOR_memory_op, abi.XENMEM_maximum_ram_page, 0, 0, 0, 0))
    step = option_number(b"step", THEFT_STEP)
    stolen: u64 = 0
    for i in range(nr_frames // step):
        mfn = i * step
        if is_ours(mfn):
            continue
        entry = mfn << PAGE_SHIFT
        for flags in THEFT_FLAGS:
            if update_va_mapping(page, entry | flags, abi.UVMF_INVLPG) == 0:
                stolen += 1
                say(f"hostile: stole frame {mfn:#x}, flags {flags:#x}")
    say(f"hostile: stole {stolen} of {nr_frames} frames")
    sched_shutdown(abi.SHUTDOWN_poweroff)


def is_ours(mfn: u64) -> bool:
    """Whether both tables say so, or the hypervisor shares it with us.

    m2p is mapped where there is memory.
    """
    if mfn == boot().shared_info >> PAGE_SHIFT or mfn == grant_frames[0]:
        return True
    pfn: u64 = 0
    if not probe_load(abi.MACH2PHYS_VIRT_START + 8 * mfn, ref(pfn)) or pfn >= boot().nr_pages:
        return False
    return mfn_of(Pfn(pfn)) == Mfn(mfn)
