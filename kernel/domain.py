"""Domains: the struct, the list of all of them, references, and how one comes and goes."""

import abi
from kpy import Array, Ptr, static, struct, u8, u16, u32, u64

from kernel.evtchn_table import EvtchnTable
from kernel.grant_table import GrantTable
from kernel.ids import DomId, Mfn
from kernel.spinlock import SpinLock
from kernel.vcpu import MAX_VCPUS, Vcpu

MAX_DOMAINS = 128


@struct(align=64)
class Domain:
    domain_id: DomId
    is_privileged: bool  # dom0: may use domctl, sysctl, platform_op, physdev_op
    is_dying: u8  # DOMDYING_*
    is_shut_down: bool
    is_shutting_down: bool
    is_paused_by_controller: bool
    shutdown_code: u8
    refcount: u32
    handle: Array[u8, 16]
    lock: SpinLock
    max_vcpus: u32
    vcpus: Array[Ptr[Vcpu] | None, MAX_VCPUS]

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

    event_lock: SpinLock
    evtchn: EvtchnTable
    grant: GrantTable
