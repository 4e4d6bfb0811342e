"""The life of a second domain by domctl, each step first wrongly."""

import abi
from kpy import Guest, Ptr, i64, load, ref, static, u8, u32, u64

from libos.hypercall import hypercall
from tests.guests.kernels.probes import second
from tests.guests.kernels.probes.ground import (
    CORE_ADDRESS,
    NO_DOMAIN,
    NO_FRAME,
    NONCANONICAL,
    WILD_ADDRESS,
)
from tests.guests.kernels.probes.second import control, domctl, request
from tests.guests.kernels.probes.second_layout import NR_PAGES
from tests.guests.kernels.probes.transcript import fact, fact_each, tell, tell_each, truth

NO_DOMCTL = 999
STEADY_FLAGS = abi.XEN_DOMINF_dying | abi.XEN_DOMINF_shutdown | abi.XEN_DOMINF_paused
SHUTDOWN_BITS = abi.XEN_DOMINF_shutdownmask << abi.XEN_DOMINF_shutdownshift

cpus = static(u64)
shared_info_frame = static(u64)


def ask_domctl() -> None:
    """What comes before any operation."""
    number = u64(abi.__HYPERVISOR_domctl)
    tell(b"domctl unmapped", hypercall(number, WILD_ADDRESS, 0, 0, 0, 0))
    tell(b"domctl in the core", hypercall(number, CORE_ADDRESS, 0, 0, 0, 0))
    request.interface_version = 7
    tell(b"domctl wrong version", hypercall(number, u64(ref(request)), 0, 0, 0, 0))
    tell(b"domctl no such command", domctl(NO_DOMCTL, 0))
    tell(b"domctl no such command or domain", domctl(NO_DOMCTL, NO_DOMAIN))
    tell(b"XEN_DOMCTL_destroydomain own", domctl(abi.XEN_DOMCTL_destroydomain, abi.DOMID_SELF))
    tell(b"XEN_DOMCTL_destroydomain dom0", domctl(abi.XEN_DOMCTL_destroydomain, 0))
    tell(b"XEN_DOMCTL_pausedomain own", domctl(abi.XEN_DOMCTL_pausedomain, 0))
    tell(b"XEN_DOMCTL_resumedomain own", domctl(abi.XEN_DOMCTL_resumedomain, 0))
    tell(b"XEN_DOMCTL_unpausedomain own", domctl(abi.XEN_DOMCTL_unpausedomain, 0))
    request.u.vcpucontext.vcpu = 0
    request.u.vcpucontext.ctxt = Guest[abi.vcpu_guest_context](u64(ref(second.context)))
    tell(b"XEN_DOMCTL_setvcpucontext own", domctl(abi.XEN_DOMCTL_setvcpucontext, 0))
    tell(b"XEN_DOMCTL_getvcpucontext own", domctl(abi.XEN_DOMCTL_getvcpucontext, 0))
    request.u.max_vcpus.max = 1
    tell(b"XEN_DOMCTL_max_vcpus own", domctl(abi.XEN_DOMCTL_max_vcpus, 0))
    request.u.setdebugging.enable = 1
    tell(b"XEN_DOMCTL_setdebugging own", domctl(abi.XEN_DOMCTL_setdebugging, 0))
    tell(b"XEN_DOMCTL_getdomaininfo own", domctl(abi.XEN_DOMCTL_getdomaininfo, abi.DOMID_SELF))
    fact(b"XEN_DOMCTL_getdomaininfo own id", u64(request.u.getdomaininfo.domain))
    fact(b"XEN_DOMCTL_getdomaininfo own online vcpus", u64(request.u.getdomaininfo.nr_online_vcpus))
    fact(b"XEN_DOMCTL_getdomaininfo own flags", u64(request.u.getdomaininfo.flags))
    tell(b"XEN_DOMCTL_getdomaininfo missing", domctl(abi.XEN_DOMCTL_getdomaininfo, NO_DOMAIN))
    for command in range(90):
        if command != abi.XEN_DOMCTL_createdomain:
            result = domctl(u32(command), NO_DOMAIN)
            tell_each(b"domctl for a missing domain, command", u64(command), result)


def plan_domain() -> None:
    """Describe a domain that can be made."""
    plan = ref(request.u.createdomain)
    for i in range(16):
        plan.handle[i] = u8(i)
    plan.ssidref = 0
    plan.flags = 0
    plan.iommu_opts = 0
    plan.max_vcpus = 1
    plan.max_evtchn_port = 1023
    plan.max_grant_frames = 4
    plan.max_maptrack_frames = 4
    plan.grant_opts = 1
    plan.vmtrace_size = 0
    plan.cpupool_id = 0
    plan.arch.emulation_flags = 0
    plan.arch.misc_flags = 0


def create() -> i64:
    return domctl(abi.XEN_DOMCTL_createdomain, 0)


def ask_creation() -> None:
    plan = ref(request.u.createdomain)
    plan_domain()
    plan.flags = 1 << 20
    tell(b"XEN_DOMCTL_createdomain unknown flag", create())
    plan_domain()
    plan.flags = abi.XEN_DOMCTL_CDF_hap
    tell(b"XEN_DOMCTL_createdomain hap without hvm", create())
    plan_domain()
    plan.flags = abi.XEN_DOMCTL_CDF_oos_off
    tell(b"XEN_DOMCTL_createdomain oos_off without hvm", create())
    plan_domain()
    plan.iommu_opts = 1
    tell(b"XEN_DOMCTL_createdomain iommu_opts", create())
    plan_domain()
    plan.max_vcpus = 0
    tell(b"XEN_DOMCTL_createdomain no vcpus", create())
    plan_domain()
    plan.max_vcpus = 100_000
    tell(b"XEN_DOMCTL_createdomain too many vcpus", create())
    plan_domain()
    plan.grant_opts = 0
    tell(b"XEN_DOMCTL_createdomain grant version 0", create())
    plan_domain()
    plan.grant_opts = 3
    tell(b"XEN_DOMCTL_createdomain grant version 3", create())
    plan_domain()
    plan.max_grant_frames = 100_000
    tell(b"XEN_DOMCTL_createdomain too many grant frames", create())
    plan_domain()
    plan.max_maptrack_frames = 1 << 30
    tell(b"XEN_DOMCTL_createdomain too many maptrack frames", create())
    plan_domain()
    plan.vmtrace_size = 4096
    tell(b"XEN_DOMCTL_createdomain vmtrace", create())
    plan_domain()
    plan.cpupool_id = 77
    tell(b"XEN_DOMCTL_createdomain missing cpupool", create())
    plan_domain()
    plan.arch.emulation_flags = 0x1
    tell(b"XEN_DOMCTL_createdomain emulated lapic", create())
    plan_domain()
    plan.arch.misc_flags = 1 << 30
    tell(b"XEN_DOMCTL_createdomain unknown misc flag", create())
    plan_domain()
    tell(b"XEN_DOMCTL_createdomain DOMID_SELF", domctl(abi.XEN_DOMCTL_createdomain, abi.DOMID_SELF))
    plan_domain()
    result = create()
    tell(b"XEN_DOMCTL_createdomain", result)
    second.domid = request.domain
    truth(b"XEN_DOMCTL_createdomain tells an id", 0 < request.domain < abi.DOMID_FIRST_RESERVED)
    plan_domain()
    result = domctl(abi.XEN_DOMCTL_createdomain, second.domid)
    tell(b"XEN_DOMCTL_createdomain present id", result)


def ask_info(when: u64) -> None:
    """Show what doesn't depend on how fast the domain runs."""
    tell_each(b"XEN_DOMCTL_getdomaininfo at step", when, control(abi.XEN_DOMCTL_getdomaininfo))
    info = ref(request.u.getdomaininfo)
    flags = u64(info.flags) & (STEADY_FLAGS | SHUTDOWN_BITS)
    fact_each(b"XEN_DOMCTL_getdomaininfo flags at step", when, flags)
    fact_each(b"XEN_DOMCTL_getdomaininfo pages at step", when, info.tot_pages)
    fact_each(b"XEN_DOMCTL_getdomaininfo most pages at step", when, info.max_pages)
    fact_each(b"XEN_DOMCTL_getdomaininfo online at step", when, u64(info.nr_online_vcpus))
    fact_each(b"XEN_DOMCTL_getdomaininfo last vcpu at step", when, u64(info.max_vcpu_id))


def ask_new_domain() -> None:
    """A domain without vCPUs or memory."""
    global shared_info_frame
    ask_info(1)
    info = ref(request.u.getdomaininfo)
    fact(b"XEN_DOMCTL_getdomaininfo handle ends", u64(info.handle[15]))
    fact(b"XEN_DOMCTL_getdomaininfo cpupool", u64(info.cpupool))
    fact(b"XEN_DOMCTL_getdomaininfo shr_pages", info.shr_pages)
    fact(b"XEN_DOMCTL_getdomaininfo outstanding_pages", info.outstanding_pages)
    fact(b"XEN_DOMCTL_getdomaininfo all flags", u64(info.flags))
    shared_info_frame = info.shared_info_frame
    tell(b"XEN_DOMCTL_setvcpucontext no vcpu", second.set_context(0))
    tell(b"XEN_DOMCTL_getvcpucontext no vcpu", get_context(0))
    request.u.getvcpuinfo.vcpu = 0
    tell(b"XEN_DOMCTL_getvcpuinfo no vcpu", control(abi.XEN_DOMCTL_getvcpuinfo))
    request.u.max_vcpus.max = 0
    tell(b"XEN_DOMCTL_max_vcpus 0", control(abi.XEN_DOMCTL_max_vcpus))
    request.u.max_vcpus.max = 2
    tell(b"XEN_DOMCTL_max_vcpus 2", control(abi.XEN_DOMCTL_max_vcpus))
    request.u.max_vcpus.max = 1
    tell(b"XEN_DOMCTL_max_vcpus", control(abi.XEN_DOMCTL_max_vcpus))
    tell(b"XEN_DOMCTL_max_vcpus again", control(abi.XEN_DOMCTL_max_vcpus))
    ask_info(2)
    handle = ref(request.u.setdomainhandle.handle)
    for i in range(16):
        handle[i] = 0x55
    tell(b"XEN_DOMCTL_setdomainhandle", control(abi.XEN_DOMCTL_setdomainhandle))
    control(abi.XEN_DOMCTL_getdomaininfo)
    fact(b"XEN_DOMCTL_setdomainhandle shows", u64(info.handle[0]))


def get_context(vcpu: u32) -> i64:
    request.u.vcpucontext.vcpu = vcpu
    request.u.vcpucontext.ctxt = Guest[abi.vcpu_guest_context](u64(ref(second.context)))
    return control(abi.XEN_DOMCTL_getvcpucontext)


def ask_memory() -> None:
    request.u.max_mem.max_memkb = ~u64(0)
    tell(b"XEN_DOMCTL_max_mem absurd", control(abi.XEN_DOMCTL_max_mem))
    request.u.max_mem.max_memkb = 4 * (NR_PAGES - 1)
    tell(b"XEN_DOMCTL_max_mem", control(abi.XEN_DOMCTL_max_mem))
    tell(b"XENMEM_populate_physmap more than allowed", second.populate())
    second.reservation.nr_extents = NR_PAGES - 1
    tell(b"XENMEM_decrease_reservation of the other", give_back())
    request.u.max_mem.max_memkb = 4 * NR_PAGES + 3
    tell(b"XEN_DOMCTL_max_mem not whole pages", control(abi.XEN_DOMCTL_max_mem))
    tell(b"XENMEM_populate_physmap", second.populate())
    own = True
    for i in range(NR_PAGES):
        own = own and second.frames[i] != u64(i)
    truth(b"XENMEM_populate_physmap tells frames", own)
    ask_info(3)
    request.u.hypercall_init.gmfn = NO_FRAME
    tell(b"XEN_DOMCTL_hypercall_init missing frame", control(abi.XEN_DOMCTL_hypercall_init))
    request.u.hypercall_init.gmfn = second.frames[3]
    tell(b"map_foreign", second.map_pages())
    tell(b"XEN_DOMCTL_hypercall_init", control(abi.XEN_DOMCTL_hypercall_init))


def give_back() -> i64:
    return hypercall(
        abi.__HYPERVISOR_memory_op,
        abi.XENMEM_decrease_reservation,
        u64(ref(second.reservation)),
        0,
        0,
        0,
    )


def ask_sizes_and_clocks() -> None:
    for bits in range(1, 3):
        request.u.address_size.size = u32(32 * bits + 1)
        result = control(abi.XEN_DOMCTL_set_address_size)
        tell_each(b"XEN_DOMCTL_set_address_size", u64(32 * bits + 1), result)
    request.u.address_size.size = 64
    tell(b"XEN_DOMCTL_set_address_size", control(abi.XEN_DOMCTL_set_address_size))
    request.u.address_size.size = 0
    tell(b"XEN_DOMCTL_get_address_size", control(abi.XEN_DOMCTL_get_address_size))
    fact(b"XEN_DOMCTL_get_address_size bits", u64(request.u.address_size.size))
    tell(b"XEN_DOMCTL_gettscinfo", control(abi.XEN_DOMCTL_gettscinfo))
    fact(b"XEN_DOMCTL_gettscinfo mode", u64(request.u.tsc_info.tsc_mode))
    fact(b"XEN_DOMCTL_gettscinfo incarnation", u64(request.u.tsc_info.incarnation))
    truth(b"XEN_DOMCTL_gettscinfo frequency", request.u.tsc_info.gtsc_khz > 1000)
    request.u.address_size.size = 32
    tell(b"XEN_DOMCTL_set_address_size 32", control(abi.XEN_DOMCTL_set_address_size))
    set_tsc_mode(1)
    set_tsc_mode(2)
    set_tsc_mode(0)
    set_tsc_mode(9)
    tell(b"XEN_DOMCTL_settscinfo own", domctl(abi.XEN_DOMCTL_settscinfo, 0))


def set_tsc_mode(mode: u32) -> None:
    request.u.tsc_info.tsc_mode = mode
    result = control(abi.XEN_DOMCTL_settscinfo)
    tell_each(b"XEN_DOMCTL_settscinfo mode", u64(mode), result)


def bitmap(bits: u64, nr_bits: u32, address: u64) -> abi.xenctl_bitmap:
    global cpus
    cpus = bits
    return abi.xenctl_bitmap(bitmap=Guest[u8](address), nr_bits=nr_bits)


def ask_placement() -> None:
    here = u64(ref(cpus))
    node = ref(request.u.nodeaffinity)
    node.nodemap = bitmap(1, 8, here)
    tell(b"XEN_DOMCTL_setnodeaffinity", control(abi.XEN_DOMCTL_setnodeaffinity))
    node.nodemap = bitmap(2, 8, here)
    tell(b"XEN_DOMCTL_setnodeaffinity missing node", control(abi.XEN_DOMCTL_setnodeaffinity))
    node.nodemap = bitmap(1, 8, WILD_ADDRESS)
    tell(b"XEN_DOMCTL_setnodeaffinity unmapped", control(abi.XEN_DOMCTL_setnodeaffinity))
    affinity = ref(request.u.vcpuaffinity)
    affinity.vcpu = 0
    affinity.flags = 0
    affinity.cpumap_hard = bitmap(1, 8, here)
    affinity.cpumap_soft = bitmap(1, 8, here)
    tell(b"XEN_DOMCTL_setvcpuaffinity none", control(abi.XEN_DOMCTL_setvcpuaffinity))
    tell(b"XEN_DOMCTL_getvcpuaffinity none", control(abi.XEN_DOMCTL_getvcpuaffinity))
    affinity.flags = abi.XEN_VCPUAFFINITY_HARD
    affinity.vcpu = 9
    tell(b"XEN_DOMCTL_setvcpuaffinity missing vcpu", control(abi.XEN_DOMCTL_setvcpuaffinity))
    tell(b"XEN_DOMCTL_getvcpuaffinity missing vcpu", control(abi.XEN_DOMCTL_getvcpuaffinity))
    affinity.vcpu = 0
    affinity.cpumap_hard = bitmap(1, 8, here)
    tell(b"XEN_DOMCTL_setvcpuaffinity hard", control(abi.XEN_DOMCTL_setvcpuaffinity))
    fact(b"XEN_DOMCTL_setvcpuaffinity hard, effective", cpus & 0xFF)
    affinity.cpumap_hard = bitmap(0, 8, here)
    tell(b"XEN_DOMCTL_getvcpuaffinity hard", control(abi.XEN_DOMCTL_getvcpuaffinity))
    fact(b"XEN_DOMCTL_getvcpuaffinity hard, cpus", cpus & 0xFF)
    affinity.cpumap_hard = bitmap(0x80, 8, here)
    tell(b"XEN_DOMCTL_setvcpuaffinity no online cpu", control(abi.XEN_DOMCTL_setvcpuaffinity))
    affinity.cpumap_hard = bitmap(1, 8, WILD_ADDRESS)
    tell(b"XEN_DOMCTL_setvcpuaffinity unmapped", control(abi.XEN_DOMCTL_setvcpuaffinity))
    affinity.cpumap_hard = bitmap(1, 8, WILD_ADDRESS)
    tell(b"XEN_DOMCTL_getvcpuaffinity unmapped", control(abi.XEN_DOMCTL_getvcpuaffinity))
    affinity.cpumap_hard = bitmap(0xFF, 8, here)
    tell(b"XEN_DOMCTL_setvcpuaffinity all", control(abi.XEN_DOMCTL_setvcpuaffinity))
    affinity.flags = abi.XEN_VCPUAFFINITY_SOFT
    affinity.cpumap_soft = bitmap(1, 8, here)
    tell(b"XEN_DOMCTL_setvcpuaffinity soft", control(abi.XEN_DOMCTL_setvcpuaffinity))
    fact(b"XEN_DOMCTL_setvcpuaffinity soft, effective", cpus & 0xFF)
    affinity.cpumap_soft = bitmap(0, 8, here)
    tell(b"XEN_DOMCTL_getvcpuaffinity soft", control(abi.XEN_DOMCTL_getvcpuaffinity))
    fact(b"XEN_DOMCTL_getvcpuaffinity soft, cpus", cpus & 0xFF)
    ask_scheduler()


def ask_scheduler() -> None:
    scheduler = ref(request.u.scheduler_op)
    scheduler.sched_id = abi.XEN_SCHEDULER_CREDIT2
    scheduler.cmd = abi.XEN_DOMCTL_SCHEDOP_getinfo
    tell(b"XEN_DOMCTL_scheduler_op getinfo", control(abi.XEN_DOMCTL_scheduler_op))
    fact(b"XEN_DOMCTL_scheduler_op weight", u64(scheduler.u.credit2.weight))
    fact(b"XEN_DOMCTL_scheduler_op cap", u64(scheduler.u.credit2.cap))
    scheduler.cmd = abi.XEN_DOMCTL_SCHEDOP_putinfo
    scheduler.u.credit2.weight = 512
    tell(b"XEN_DOMCTL_scheduler_op putinfo", control(abi.XEN_DOMCTL_scheduler_op))
    scheduler.cmd = abi.XEN_DOMCTL_SCHEDOP_getinfo
    control(abi.XEN_DOMCTL_scheduler_op)
    fact(b"XEN_DOMCTL_scheduler_op new weight", u64(scheduler.u.credit2.weight))
    scheduler.cmd = abi.XEN_DOMCTL_SCHEDOP_putinfo
    scheduler.u.credit2.weight = 0
    tell(b"XEN_DOMCTL_scheduler_op weight 0", control(abi.XEN_DOMCTL_scheduler_op))
    scheduler.cmd = 9
    tell(b"XEN_DOMCTL_scheduler_op no such command", control(abi.XEN_DOMCTL_scheduler_op))
    scheduler.cmd = abi.XEN_DOMCTL_SCHEDOP_getinfo
    scheduler.sched_id = abi.XEN_SCHEDULER_CREDIT
    tell(b"XEN_DOMCTL_scheduler_op another scheduler", control(abi.XEN_DOMCTL_scheduler_op))


def ask_registers() -> None:
    """Pin the tables, and start with registers that are not quite right."""
    second.fill_pages(shared_info_frame)
    fact(b"XEN_DOMCTL_max_vcpus event mask", second.show_shared_info(shared_info_frame))
    tell(
        b"MMUEXT_PIN_L4_TABLE other's, still writable",
        second.pin(abi.MMUEXT_PIN_L4_TABLE, second.L4),
    )
    tell(b"map_foreign read-only", second.protect_tables())
    tell(b"MMUEXT_PIN_L4_TABLE other's", second.pin(abi.MMUEXT_PIN_L4_TABLE, second.L4))
    tell(b"MMUEXT_PIN_L4_TABLE other's, again", second.pin(abi.MMUEXT_PIN_L4_TABLE, second.L4))
    tell(b"MMUEXT_NEW_BASEPTR other's", second.pin(abi.MMUEXT_NEW_BASEPTR, second.L4))
    tell(b"MMUEXT_TLB_FLUSH_ALL other's", second.pin(abi.MMUEXT_TLB_FLUSH_ALL, second.L4))
    tell(
        b"map_foreign a table writable",
        second.map_foreign(second.page(second.L4), second.frames[second.L4], 3),
    )
    tell(b"XEN_DOMCTL_getvcpucontext not set", get_context(0))
    second.describe_registers()
    context = ref(second.context)
    context.ctrlreg[3] = NO_FRAME << 12
    tell(b"XEN_DOMCTL_setvcpucontext missing table", second.set_context(0))
    second.describe_registers()
    context.user_regs.rip = NONCANONICAL
    tell(b"XEN_DOMCTL_setvcpucontext rip not canonical", second.set_context(0))
    second.describe_registers()
    context.fs_base = NONCANONICAL
    tell(b"XEN_DOMCTL_setvcpucontext fs not canonical", second.set_context(0))
    context.fs_base = 0
    context.ldt_ents = 9000
    tell(b"XEN_DOMCTL_setvcpucontext ldt too large", second.set_context(0))
    context.ldt_ents = 0
    context.gdt_ents = 9000
    tell(b"XEN_DOMCTL_setvcpucontext gdt too large", second.set_context(0))
    context.gdt_ents = 0
    tell(b"XEN_DOMCTL_setvcpucontext missing vcpu", second.set_context(9))
    request.u.vcpucontext.vcpu = 0
    request.u.vcpucontext.ctxt = Guest[abi.vcpu_guest_context](WILD_ADDRESS)
    tell(b"XEN_DOMCTL_setvcpucontext unmapped", control(abi.XEN_DOMCTL_setvcpucontext))
    tell(b"XEN_DOMCTL_setvcpucontext", second.set_context(0))
    context.user_regs.rip = 0
    tell(b"XEN_DOMCTL_getvcpucontext", get_context(0))
    truth(b"XEN_DOMCTL_getvcpucontext rip", context.user_regs.rip == second.ENTRY)
    fact(b"XEN_DOMCTL_getvcpucontext cs", u64(context.user_regs.cs))
    fact(b"XEN_DOMCTL_getvcpucontext ss", u64(context.user_regs.ss))
    fact(b"XEN_DOMCTL_getvcpucontext rflags", context.user_regs.rflags)
    fact(b"XEN_DOMCTL_getvcpucontext flags", context.flags)
    fact(b"XEN_DOMCTL_getvcpucontext cr0", context.ctrlreg[0])
    fact(b"XEN_DOMCTL_getvcpucontext cr1", context.ctrlreg[1])
    truth(b"XEN_DOMCTL_getvcpucontext cr3", context.ctrlreg[3] == second.frames[second.L4] << 12)
    fact(b"XEN_DOMCTL_getvcpucontext cr4", context.ctrlreg[4] & 0xFFFF)
    fact(b"XEN_DOMCTL_getvcpucontext vm_assist", context.vm_assist)
    fact(b"XEN_DOMCTL_getvcpucontext dr6", context.debugreg[6])
    fact(b"XEN_DOMCTL_getvcpucontext dr7", context.debugreg[7])
    request.u.hypercall_init.gmfn = second.frames[second.L4]
    tell(b"XEN_DOMCTL_hypercall_init page table", control(abi.XEN_DOMCTL_hypercall_init))
    request.u.vcpucontext.ctxt = Guest[abi.vcpu_guest_context](WILD_ADDRESS)
    request.u.vcpucontext.vcpu = 0
    tell(b"XEN_DOMCTL_getvcpucontext unmapped", control(abi.XEN_DOMCTL_getvcpucontext))
    ask_info(4)


def ask_start() -> None:
    """Pauses nest; then it answers."""
    tell(b"XEN_DOMCTL_pausedomain", control(abi.XEN_DOMCTL_pausedomain))
    tell(b"XEN_DOMCTL_unpausedomain", control(abi.XEN_DOMCTL_unpausedomain))
    ask_info(5)
    tell(b"XEN_DOMCTL_unpausedomain to run", control(abi.XEN_DOMCTL_unpausedomain))
    tell(b"XEN_DOMCTL_unpausedomain running", control(abi.XEN_DOMCTL_unpausedomain))
    version = second.second_call(abi.__HYPERVISOR_xen_version, abi.XENVER_version, 0, 0, 0)
    truth(b"the second domain answers", version == 4 << 16 | 17)
    ask_info(6)
    info = ref(request.u.getvcpuinfo)
    info.vcpu = 0
    tell(b"XEN_DOMCTL_getvcpuinfo", control(abi.XEN_DOMCTL_getvcpuinfo))
    fact(b"XEN_DOMCTL_getvcpuinfo online", u64(info.online))
    # Real Xen says 0 now and then: too much depends on when the processors' clocks are read.
    truth(b"XEN_DOMCTL_getvcpuinfo time", info.cpu_time < 1 << 40)
    info.vcpu = 9
    tell(b"XEN_DOMCTL_getvcpuinfo missing vcpu", control(abi.XEN_DOMCTL_getvcpuinfo))


def ask_debugger() -> None:
    """What gdbsx does to a domain that runs, then to one that is paused."""
    pause = ref(request.u.gdbsx_pauseunp_vcpu)
    pause.vcpu = 0
    tell(b"XEN_DOMCTL_gdbsx_pausevcpu running", control(abi.XEN_DOMCTL_gdbsx_pausevcpu))
    tell(b"XEN_DOMCTL_gdbsx_unpausevcpu running", control(abi.XEN_DOMCTL_gdbsx_unpausevcpu))
    tell(b"XEN_DOMCTL_gdbsx_domstatus running", control(abi.XEN_DOMCTL_gdbsx_domstatus))
    fact(b"XEN_DOMCTL_gdbsx_domstatus running, paused", u64(request.u.gdbsx_domstatus.paused))
    control(abi.XEN_DOMCTL_pausedomain)
    tell(b"XEN_DOMCTL_gdbsx_domstatus paused", control(abi.XEN_DOMCTL_gdbsx_domstatus))
    fact(b"XEN_DOMCTL_gdbsx_domstatus paused, paused", u64(request.u.gdbsx_domstatus.paused))
    fact(b"XEN_DOMCTL_gdbsx_domstatus paused, vcpu", u64(request.u.gdbsx_domstatus.vcpu_id))
    pause.vcpu = 9
    tell(b"XEN_DOMCTL_gdbsx_pausevcpu missing vcpu", control(abi.XEN_DOMCTL_gdbsx_pausevcpu))
    tell(b"XEN_DOMCTL_gdbsx_unpausevcpu missing vcpu", control(abi.XEN_DOMCTL_gdbsx_unpausevcpu))
    pause.vcpu = 0
    tell(b"XEN_DOMCTL_gdbsx_unpausevcpu not paused", control(abi.XEN_DOMCTL_gdbsx_unpausevcpu))
    tell(b"XEN_DOMCTL_gdbsx_pausevcpu", control(abi.XEN_DOMCTL_gdbsx_pausevcpu))
    tell(b"XEN_DOMCTL_gdbsx_unpausevcpu", control(abi.XEN_DOMCTL_gdbsx_unpausevcpu))
    request.u.setdebugging.enable = 1
    tell(b"XEN_DOMCTL_setdebugging", control(abi.XEN_DOMCTL_setdebugging))
    control(abi.XEN_DOMCTL_getdomaininfo)
    flags = u64(request.u.getdomaininfo.flags)
    fact(b"XEN_DOMCTL_setdebugging shows", flags & abi.XEN_DOMINF_debugged)
    request.u.setdebugging.enable = 0
    tell(b"XEN_DOMCTL_setdebugging off", control(abi.XEN_DOMCTL_setdebugging))
    step = ref(request.u.debug_op)
    step.op = 7
    step.vcpu = 0
    tell(b"XEN_DOMCTL_debug_op unknown", control(abi.XEN_DOMCTL_debug_op))
    step.op = abi.XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF
    tell(b"XEN_DOMCTL_debug_op off", control(abi.XEN_DOMCTL_debug_op))
    step.vcpu = 9
    tell(b"XEN_DOMCTL_debug_op missing vcpu", control(abi.XEN_DOMCTL_debug_op))
    ask_foreign_memory()
    control(abi.XEN_DOMCTL_unpausedomain)


def ask_foreign_memory() -> None:
    """Read and write a word of the other domain by its virtual address."""
    io = ref(request.u.gdbsx_guest_memio)
    word: u64 = 0
    io.pgd3val = 0
    io.gva = second.ENTRY
    io.uva = u64(ref(word))
    io.len = 8
    io.gwr = 0
    tell(b"XEN_DOMCTL_gdbsx_guestmemio read", control(abi.XEN_DOMCTL_gdbsx_guestmemio))
    truth(
        b"XEN_DOMCTL_gdbsx_guestmemio reads its kernel",
        word == load(Ptr[u64](second.page(second.CODE))),
    )
    fact(b"XEN_DOMCTL_gdbsx_guestmemio remain", u64(io.remain))
    io.gva = second.HOLE_ADDRESS
    io.len = 8
    tell(b"XEN_DOMCTL_gdbsx_guestmemio a hole", control(abi.XEN_DOMCTL_gdbsx_guestmemio))
    io.gva = second.BUFFER
    io.len = 8
    io.gwr = 1
    tell(b"XEN_DOMCTL_gdbsx_guestmemio write", control(abi.XEN_DOMCTL_gdbsx_guestmemio))
    truth(b"XEN_DOMCTL_gdbsx_guestmemio writes", load(Ptr[u64](second.buffer())) == word)
    io.uva = WILD_ADDRESS
    io.len = 8
    tell(b"XEN_DOMCTL_gdbsx_guestmemio unmapped", control(abi.XEN_DOMCTL_gdbsx_guestmemio))


def ask_end() -> None:
    """Suspend, resume, crash, destroy."""
    truth(b"SCHEDOP_shutdown to suspend", second.suspend())
    ask_info(7)
    tell(b"XEN_DOMCTL_resumedomain", control(abi.XEN_DOMCTL_resumedomain))
    truth(b"XEN_DOMCTL_resumedomain it goes on", second.is_served())
    ask_info(8)
    version = second.second_call(abi.__HYPERVISOR_xen_version, abi.XENVER_version, 0, 0, 0)
    truth(b"XEN_DOMCTL_resumedomain it answers again", version == 4 << 16 | 17)
    sched = u64(abi.__HYPERVISOR_sched_op)
    remote = abi.sched_remote_shutdown(domain_id=second.domid, reason=abi.SHUTDOWN_crash)
    tell(
        b"SCHEDOP_remote_shutdown",
        hypercall(sched, abi.SCHEDOP_remote_shutdown, u64(ref(remote)), 0, 0, 0),
    )
    ask_info(9)
    tell(
        b"SCHEDOP_remote_shutdown again",
        hypercall(sched, abi.SCHEDOP_remote_shutdown, u64(ref(remote)), 0, 0, 0),
    )
    second.forget_pages()
    tell(b"XEN_DOMCTL_destroydomain", control(abi.XEN_DOMCTL_destroydomain))
    tell(b"XEN_DOMCTL_destroydomain again", control(abi.XEN_DOMCTL_destroydomain))
    tell(b"XEN_DOMCTL_getdomaininfo destroyed", control(abi.XEN_DOMCTL_getdomaininfo))
