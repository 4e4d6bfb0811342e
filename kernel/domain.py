"""Domains: the struct, the table of all of them, and references.

How one comes and goes is in `kernel.domain_create` and `kernel.domain_life`. A `Domain` stays in the table until its last
reference goes: whoever finds it there may be looking at one that is dying, and must ask.
"""

import abi
from kpy import Array, Ptr, atomic_add, atomic_load, atomic_sub, sizeof, static, struct, u8, u32, u64

from kernel.evtchn_table import EvtchnTable
from kernel.grant_table import GrantTable
from kernel.ids import DomId, Mfn
from kernel.spinlock import SpinLock
from kernel.timer import Timer
from kernel.vcpu import MAX_VCPUS, Vcpu

MAX_DOMAINS = 128  # at once, dying ones included
HASH_BUCKETS = 64
NR_WATCHDOGS = 2

DOMDYING_alive = 0
DOMDYING_dying = 1  # being taken apart
DOMDYING_dead = 2  # taken apart, but others hold references


@struct
class Watchdog:
    """A guest's watchdog (SCHEDOP_watchdog): shuts the domain down unless it is poked in time."""

    timer: Timer
    domain: Ptr["Domain"]


@struct(align=64)
class Domain:
    domain_id: DomId
    is_privileged: bool  # dom0: may use domctl, sysctl, platform_op, physdev_op
    is_dying: u8  # DOMDYING_*
    is_shut_down: bool  # every vCPU has stopped for the shutdown
    is_shutting_down: bool
    creation_finished: bool  # the toolstack has unpaused it once
    shutdown_code: u32  # SHUTDOWN_*, or SHUTDOWN_CODE_none
    refcount: u32
    pause_count: u32  # all reasons; 0: its vCPUs may run
    controller_pause_count: u32  # the part of pause_count that domctls made
    handle: Array[u8, 16]
    lock: SpinLock
    flags: u32  # XEN_DOMCTL_CDF_*
    ssidref: u32
    max_vcpus: u32
    vcpus: Array[Ptr[Vcpu] | None, MAX_VCPUS]
    hash_next: Ptr["Domain"] | None
    list_next: Ptr["Domain"] | None  # all domains by rising id
    arch_config: abi.xen_arch_domainconfig
    watchdogs: Array[Watchdog, NR_WATCHDOGS]
    watchdogs_in_use: u32  # bit per watchdog
    kill_phase: u32  # progress of domain_kill

    # Memory (kernel/frame.py, kernel/mmu.py, kernel/memory.py)
    page_lock: SpinLock
    first_frame: u32  # list of owned frames through Frame.next
    tot_pages: u32
    max_pages: u32
    xenheap_pages: u32
    shared_info: Ptr[abi.shared_info]  # a core page, mapped by the guest
    shared_info_mfn: Mfn
    vm_assist: u64
    dirty_cpumask: u64  # CPUs whose TLB may hold this domain's translations

    # Scheduling (kernel/sched.py)
    weight: u32

    # Time (kernel/time.py)
    time_offset_seconds: u32

    # Events, grants (kernel/evtchn.py, kernel/grant.py)
    event_lock: SpinLock
    evtchn: EvtchnTable
    grant: GrantTable

    # Emulation (kernel/emulate/ioport.py)
    pci_cf8: u32  # the PCI configuration address that it wrote last


assert sizeof(Domain) <= 4096
