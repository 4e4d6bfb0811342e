"""How a domain comes, and how it is taken apart. Its last remains go in `kernel.domain.free`."""

import abi
from kpy import Ptr, Result, Tainted, i64, ok, ref, require, static, u8, u32, u64

import kernel.state.domain
from kernel.base.ids import DomId, Vaddr
from kernel.domain.free import free_buried_domains, free_domain, free_vcpu
from kernel.domain.perdomain import add_perdomain_vcpu, create_perdomain
from kernel.domain.relinquish import relinquish_memory
from kernel.domain.vcpu_context import arch_init_vcpu
from kernel.domain.vcpu_info import reset_vcpu_info
from kernel.domain.watchdog import stop_watchdogs
from kernel.evtchn.bind import init_evtchn
from kernel.evtchn.close import evtchn_close_all
from kernel.evtchn.virq import send_global_virq
from kernel.frames.core_page import alloc_core_page, core_page_mfn, free_core_page, share_core_page
from kernel.grant.release import grant_release_mappings
from kernel.grant.setup import GRANT_VERSION, init_grant_table, release_shared_frames
from kernel.sched.pause import domain_pause
from kernel.sched.schedule import init_sched_unit
from kernel.sched.time import init_vcpu_time, update_vcpu_time, update_wallclock
from kernel.sched.timer_heap import stop_timer_sync
from kernel.state.domain import (
    Domain,
    DOMDYING_alive,
    DOMDYING_dead,
    DOMDYING_dying,
    KillPhase,
    SHUTDOWN_CODE_none,
    put_domain,
)
from kernel.state.domain_table import link_domain
from kernel.state.grant_table import MAX_GRANT_FRAMES, MAX_MAPTRACK_FRAMES
from kernel.state.sched_unit import DEFAULT_WEIGHT
from kernel.state.vcpu import MAX_VCPUS, Vcpu, VPF_down
from kernel.trace.record import trace_1, trace_2
from kernel.x86.fpu import fpu_init_vcpu
from kernel.x86.ipi import drop_lazy_state
from kernel.x86.percpu import online_cpus

KNOWN_FLAGS = (
    abi.XEN_DOMCTL_CDF_xs_domain | abi.XEN_DOMCTL_CDF_oos_off | abi.XEN_DOMCTL_CDF_s3_integrity
)
KNOWN_MISC = abi.XEN_X86_MSR_RELAXED

nobodys_info = static(Tainted[abi.shared_info])  # the shared page of domains that are dead


def create_domain(
    config: Ptr[Tainted[abi.xen_domctl_createdomain]], domain_id: DomId
) -> Result[Ptr[Domain]]:
    """Make an empty domain, paused by the toolstack once, without memory or vCPUs.

    Returns: the domain, with the one reference that `domain_kill` gives back.
    Errors: -EINVAL, flags or limits that no PV domain can have here; -EOPNOTSUPP, emulated devices;
    -ESRCH, a CPU pool other than 0; -ENOMEM; -EEXIST, the id is in use.
    """
    ok(check_config(config))
    free_buried_domains()
    d = new_domain(config, domain_id)
    require(d is not None, -abi.ENOMEM)
    result = enter_domain(d, config)
    if result != 0:
        discard_domain(d)
        return result
    trace_1(abi.TRC_DOM0_DOM_ADD, u32(d.domain_id))
    if d.is_privileged:
        kernel.state.domain.dom0 = d
    return d


def enter_domain(d: Ptr[Domain], config: Ptr[Tainted[abi.xen_domctl_createdomain]]) -> i64:
    """Complete a new domain and let everybody find it. Errors: -ENOMEM, -EEXIST."""
    require(fill_domain(d, config), -abi.ENOMEM)
    update_wallclock(d)
    require(link_domain(d), -abi.EEXIST)
    return 0


def check_config(config: Ptr[Tainted[abi.xen_domctl_createdomain]]) -> Result[None]:
    """Check what the toolstack wants. Errors: as `create_domain`."""
    require(config.flags & ~KNOWN_FLAGS == 0 and config.iommu_opts == 0, -abi.EINVAL)
    require(config.vmtrace_size == 0 and 1 <= config.max_vcpus <= MAX_VCPUS, -abi.EINVAL)
    require(config.arch.misc_flags & ~KNOWN_MISC == 0, -abi.EINVAL)
    require(config.grant_opts & abi.XEN_DOMCTL_GRANT_version_mask == GRANT_VERSION, -abi.EINVAL)
    require(config.max_grant_frames <= MAX_GRANT_FRAMES, -abi.EINVAL)  # negative: the default
    require(config.max_grant_frames != 0, -abi.EINVAL)
    require(config.max_maptrack_frames <= MAX_MAPTRACK_FRAMES, -abi.EINVAL)
    require(config.arch.emulation_flags == 0, -abi.EOPNOTSUPP)
    require(config.cpupool_id == 0, -abi.ESRCH)


def new_domain(
    config: Ptr[Tainted[abi.xen_domctl_createdomain]], domain_id: DomId
) -> Ptr[Domain] | None:
    """Allocate a domain and set the fields that need nothing else."""
    address = alloc_core_page()
    require(address is not None, None)
    # A fresh core page, that nobody else knows
    d = Ptr[Domain](u64(address))
    d.domain_id = domain_id
    d.is_privileged = domain_id == DomId(0)
    d.flags = config.flags & KNOWN_FLAGS
    d.ssidref = config.ssidref
    d.handle = config.handle
    d.max_vcpus = min(config.max_vcpus, MAX_VCPUS)
    d.arch_config = config.arch
    d.refcount = 1
    d.pause_count = 1
    d.controller_pause_count = 1
    d.shutdown_code = SHUTDOWN_CODE_none
    d.sched_weight = DEFAULT_WEIGHT
    return d


def fill_domain(d: Ptr[Domain], config: Ptr[Tainted[abi.xen_domctl_createdomain]]) -> bool:
    """Allocate what every domain has. Returns: whether there was memory for all of it."""
    shared = alloc_core_page()
    require(shared is not None, False)
    # A fresh core page; only the guest's mappings share it
    d.shared_info = Ptr[Tainted[abi.shared_info]](u64(shared))
    d.shared_info_mfn = core_page_mfn(shared)
    share_core_page(shared, d, True)
    require(init_evtchn(d, config.max_evtchn_port).error == 0 and create_perdomain(d), False)
    return init_grant_table(d, config.max_grant_frames, config.max_maptrack_frames)


def discard_domain(d: Ptr[Domain]) -> None:
    """Free a domain whose creation failed. Nobody else knows it."""
    free_shared_frames(d)
    free_domain(d)


def free_shared_frames(d: Ptr[Domain]) -> None:
    """Give up the core pages that the guest could map; each is free once its last mapping goes.

    Whoever still asks about the domain, or sets registers of it, finds `nobodys_info` there.
    """
    release_shared_frames(d)
    if d.shared_info_mfn is not None:
        page = Vaddr(u64(d.shared_info))
        d.shared_info = ref(nobodys_info)
        for i in range(d.max_vcpus):
            v = d.vcpus[i]
            if v is not None:
                v.vcpu_info = ref(nobodys_info.vcpu_info[i])
        free_core_page(page)


def alloc_vcpu(d: Ptr[Domain], vcpu_id: u32) -> Ptr[Vcpu] | None:
    """Make a vCPU, down and without registers. Locks: domctl_lock, held, or context: boot."""
    address = alloc_core_page()
    if address is None:
        return None
    # A fresh core page, that nobody else knows
    v = Ptr[Vcpu](u64(address))
    v.vcpu_id = vcpu_id
    v.domain = d
    v.pause_flags = VPF_down
    v.vcpu_info = ref(d.shared_info.vcpu_info[vcpu_id])
    v.vcpu_info.evtchn_upcall_mask = 1
    trace_2(abi.TRC_SCHED_DOM_ADD, u32(d.domain_id), vcpu_id)
    init_sched_unit(v)
    init_vcpu_time(v)
    update_vcpu_time(v)
    if not (add_save_area(v) and arch_init_vcpu(v) and add_perdomain_vcpu(v)):
        free_vcpu(v)
        return None
    d.vcpus[vcpu_id] = v
    return v


def add_save_area(v: Ptr[Vcpu]) -> bool:
    """Give a new vCPU a page for its FPU state; false when memory is short."""
    page = alloc_core_page()
    require(page is not None, False)
    fpu_init_vcpu(v, page)
    return True


def domain_kill(d: Ptr[Domain]) -> i64:
    """Take a domain apart: its events, its use of others' memory, its own.

    What others still use of it stays until they stop.

    Returns: 0, or -ERESTART to be called again. Locks: domctl_lock, held, so there is one killer.
    """
    if d.is_dying == DOMDYING_alive:
        d.is_dying = DOMDYING_dying
        domain_pause(d)
        stop_timers(d)
    if d.is_dying == DOMDYING_dying:
        ok(take_apart(d))
        d.is_dying = DOMDYING_dead
        send_global_virq(abi.VIRQ_DOM_EXC)
        put_domain(d)  # the reference that `create_domain` gave
    return 0


def take_apart(d: Ptr[Domain]) -> i64:
    """Do the steps of `domain_kill` in their order. Returns: 0, or -ERESTART."""
    while d.kill_phase != KillPhase.done:
        match d.kill_phase:
            case KillPhase.events:
                ok(evtchn_close_all(d))
                leave_guest_memory(d)
            case KillPhase.grants:
                ok(grant_release_mappings(d))
            case KillPhase.memory:
                ok(relinquish_memory(d))
            case _:
                free_shared_frames(d)
        d.kill_phase = KillPhase(u8(d.kill_phase) + 1)
    return 0


def leave_guest_memory(d: Ptr[Domain]) -> None:
    """Leave the page tables of stopped vCPUs and their vcpu_info, which no event reaches now."""
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            reset_vcpu_info(v)
    drop_lazy_state(online_cpus())


def stop_timers(d: Ptr[Domain]) -> None:
    """Stop what would signal stopped vCPUs by itself."""
    stop_watchdogs(d)
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is not None:
            v.periodic_period_ns = 0
            stop_timer_sync(ref(v.singleshot_timer))
            stop_timer_sync(ref(v.periodic_timer))
            stop_timer_sync(ref(v.poll_timer))
