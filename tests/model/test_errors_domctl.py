"""domctl, sysctl and platform_op: privilege, the structure, and every documented error."""

import abi
import pytest

from kernel.panic.debug_keys import MOST_KEYS
from kernel.state.domain import MAX_DOMAINS
from tests.model.boot import DOM0_PAGES
from tests.model.codes import (
    E2BIG,
    EACCES,
    EBUSY,
    EEXIST,
    EFAULT,
    EINVAL,
    ENODATA,
    ENOSYS,
    EOPNOTSUPP,
    EOVERFLOW,
    EPERM,
    ESRCH,
)
from tests.model.errors import (
    BENT,
    CORE,
    NOBODY,
    UNMAPPED,
    In,
    ReadOnly,
    Wrong,
    check,
    guest,
    other,
    own_frame,
)
from tests.model.guest import BASE, DATA, FIRST_DATA_PAGE, PAGE, domctl

DOMCTL, SYSCTL, PLATFORM = (
    abi.__HYPERVISOR_domctl,
    abi.__HYPERVISOR_sysctl,
    abi.__HYPERVISOR_platform_op,
)
VERSION = abi.XEN_DOMCTL_INTERFACE_VERSION
LIST = DATA
HARD, SOFT = abi.XEN_VCPUAFFINITY_HARD, abi.XEN_VCPUAFFINITY_SOFT
TOO_LONG = {"bitmap": BASE + DOM0_PAGES * PAGE - 8, "nr_bits": 128}  # dom0 has no page behind
MAP_OF_CPU_0 = {"bitmap": LIST, "nr_bits": 64}


def control(cmd, domain=1, version=VERSION, kind=In, **u):
    """One domctl of dom0's."""
    fields = {"cmd": cmd, "domain": domain, "interface_version": version, "u": u}
    return (DOMCTL, kind(abi.xen_domctl, fields))


def as_many_as_there_may_be(machine):
    """Let the core know of as many domains as it can."""
    machine["kernel.state.domain.domain_table"].nr_domains = MAX_DOMAINS


def create(domain=0, **changes):
    """A domain whose description is right but for the changes."""
    config = {"max_vcpus": 1, "max_evtchn_port": 4095, "max_grant_frames": 4}
    config |= {"max_maptrack_frames": 16, "grant_opts": 1} | changes
    return control(abi.XEN_DOMCTL_createdomain, domain, createdomain=config)


def affinity(**fields):
    return control(abi.XEN_DOMCTL_setvcpuaffinity, vcpuaffinity=fields)


def get_affinity(**fields):
    return control(abi.XEN_DOMCTL_getvcpuaffinity, vcpuaffinity=fields)


def weight(cmd=abi.XEN_DOMCTL_SCHEDOP_putinfo, sched_id=abi.XEN_SCHEDULER_CREDIT2, **credit2):
    fields = {"sched_id": sched_id, "cmd": cmd, "u": {"credit2": credit2}}
    return control(abi.XEN_DOMCTL_scheduler_op, scheduler_op=fields)


def max_vcpus(count, domain=1):
    return control(abi.XEN_DOMCTL_max_vcpus, domain, max_vcpus={"max": count})


def address_size(bits):
    return control(abi.XEN_DOMCTL_set_address_size, address_size={"size": bits})


def tsc_mode(mode):
    return control(abi.XEN_DOMCTL_settscinfo, tsc_info={"tsc_mode": mode})


def mask(value):
    """Let dom0's list begin with a mask."""
    return lambda m: m.dom0.write(LIST, value.to_bytes(8, "little"))


def context_of(machine, **changes):
    """A context that a started vCPU may be given: what it has, but for the changes."""
    dom0 = machine.dom0
    at = dom0.put(bytes(abi.vcpu_guest_context.size))
    domctl(dom0, abi.XEN_DOMCTL_getvcpucontext, 1, vcpucontext={"vcpu": 0, "ctxt": at})
    context = dom0.get(abi.vcpu_guest_context, at)
    for name, value in changes.items():
        if isinstance(value, dict):
            for part, inner in value.items():
                target = getattr(context, name)
                if isinstance(part, int):
                    target[part] = inner
                else:
                    setattr(target, part, inner)
        else:
            setattr(context, name, value)
    at = BASE + 16 * PAGE
    dom0.write(at, bytes(context))
    return at


def set_context(number=0, at=None, **changes):
    """Give the guest's vCPU its own context again, with some changes."""
    place = at or (lambda m: context_of(m, **changes))
    return control(abi.XEN_DOMCTL_setvcpucontext, vcpucontext={"vcpu": number, "ctxt": place})


def get_context(number=0, at=LIST, domain=1):
    fields = {"vcpu": number, "ctxt": at}
    return control(abi.XEN_DOMCTL_getvcpucontext, domain, vcpucontext=fields)


def often_paused(machine):
    """Let the toolstack have paused the guest as often as it may."""
    for _ in range(255):
        domctl(machine.dom0, abi.XEN_DOMCTL_pausedomain, 1)


def unstarted(machine):
    """Let there be a domain 3 with a vCPU without registers."""
    config = {"max_vcpus": 2, "max_evtchn_port": 4095, "max_grant_frames": 4}
    config |= {"max_maptrack_frames": 16, "grant_opts": 1}
    made = domctl(machine.dom0, abi.XEN_DOMCTL_createdomain, 0, createdomain=config)
    domctl(machine.dom0, abi.XEN_DOMCTL_max_vcpus, made.domain, max_vcpus={"max": 2})


def paused(machine):
    domctl(machine.dom0, abi.XEN_DOMCTL_pausedomain, 1)


def pause_vcpu(cmd, vcpu=0):
    return control(cmd, gdbsx_pauseunp_vcpu={"vcpu": vcpu})


def dom0(why, call, error, first=None):
    return Wrong(why, call, error, "dom0", first)


PRIVILEGE = [
    Wrong("domctl: not privileged", control(abi.XEN_DOMCTL_destroydomain, 2), EPERM),
    Wrong("domctl: not privileged, unmapped", (DOMCTL, UNMAPPED), EFAULT),
    dom0("domctl: unmapped", (DOMCTL, UNMAPPED), EFAULT),
    dom0("domctl: in the core", (DOMCTL, CORE), EFAULT),
    dom0("domctl: another version", control(1, version=VERSION - 1), EACCES),
    dom0("domctl: no such domain", control(abi.XEN_DOMCTL_pausedomain, NOBODY), ESRCH),
    dom0("domctl: no such operation", control(95), ENOSYS),
    dom0("domctl: far from any operation", control(1 << 31), ENOSYS),
    dom0("domctl: short of the debugger's", control(500), ENOSYS),
    dom0("domctl: past the debugger's", control(1004), ENOSYS),
    dom0(
        "domctl: read-only",
        control(abi.XEN_DOMCTL_getdomaininfo, kind=ReadOnly),
        EFAULT,
    ),
]

LIFE = [
    dom0("create: unknown flags", create(flags=1 << 30), EINVAL),
    dom0("create: HVM", create(flags=abi.XEN_DOMCTL_CDF_hvm), EINVAL),
    dom0("create: IOMMU options", create(iommu_opts=1), EINVAL),
    dom0("create: vmtrace", create(vmtrace_size=4096), EINVAL),
    dom0("create: grants of version 2", create(grant_opts=2), EINVAL),
    dom0("create: another cpupool", create(cpupool_id=1), ESRCH),
    dom0("create: too many grant frames", create(max_grant_frames=65), EINVAL),
    dom0("create: no grant frames", create(max_grant_frames=0), EINVAL),
    dom0("create: too many maptrack frames", create(max_maptrack_frames=1025), EINVAL),
    dom0("create: emulated devices", create(arch={"emulation_flags": 1}), EOPNOTSUPP),
    dom0("create: no vCPUs", create(max_vcpus=0), EINVAL),
    dom0("create: too many vCPUs", create(max_vcpus=33), EINVAL),
    dom0("create: an id in use", create(2), EEXIST),
    dom0("create: one too many", create(), EEXIST, first=as_many_as_there_may_be),
    dom0("destroy: itself", control(abi.XEN_DOMCTL_destroydomain, 0), EINVAL),
    dom0("destroy: itself by name", control(abi.XEN_DOMCTL_destroydomain, abi.DOMID_SELF), ESRCH),
    dom0("pause: itself", control(abi.XEN_DOMCTL_pausedomain, 0), EINVAL),
    dom0("pause: too often", control(abi.XEN_DOMCTL_pausedomain), EOVERFLOW, often_paused),
    dom0("unpause: not paused", control(abi.XEN_DOMCTL_unpausedomain), EINVAL),
    dom0("resume: itself", control(abi.XEN_DOMCTL_resumedomain, 0), EINVAL),
    dom0(
        "getdomaininfo: itself by name",
        control(abi.XEN_DOMCTL_getdomaininfo, abi.DOMID_SELF),
        EINVAL,
    ),
    dom0("setdebugging: itself", control(abi.XEN_DOMCTL_setdebugging, 0), EINVAL),
]

VCPUS = [
    dom0("max_vcpus: none", max_vcpus(0), EINVAL),
    dom0("max_vcpus: another number", max_vcpus(2), EINVAL),
    dom0("max_vcpus: itself", max_vcpus(1, 0), EINVAL),
    dom0("set context: no such vCPU", set_context(1), EINVAL),
    dom0("set context: vCPU out of range", set_context(99), EINVAL),
    dom0("set context: unmapped", set_context(at=UNMAPPED), EFAULT),
    dom0(
        "set context: itself",
        control(abi.XEN_DOMCTL_setvcpucontext, 0, vcpucontext={"vcpu": 0, "ctxt": LIST}),
        EINVAL,
    ),
    dom0("get context: itself", get_context(domain=0), EINVAL),
    dom0("get context: no such vCPU", get_context(1), EINVAL),
    dom0("get context: vCPU out of range", get_context(99), EINVAL),
    dom0("get context: never started", get_context(domain=3), ENODATA, unstarted),
    dom0("get context: unmapped", get_context(at=UNMAPPED), EFAULT),
    dom0(
        "vcpu info: out of range",
        control(abi.XEN_DOMCTL_getvcpuinfo, getvcpuinfo={"vcpu": 1}),
        EINVAL,
    ),
    dom0("affinity: none named", affinity(vcpu=0), EINVAL),
    dom0("affinity: no such vCPU", affinity(vcpu=1, flags=HARD), EINVAL),
    dom0("affinity: vCPU out of range", affinity(vcpu=99, flags=HARD), EINVAL),
    dom0(
        "affinity: map unmapped",
        affinity(flags=HARD, cpumap_hard={"bitmap": UNMAPPED, "nr_bits": 64}),
        EFAULT,
    ),
    dom0(
        "affinity: no CPU that runs",
        affinity(flags=HARD, cpumap_hard=MAP_OF_CPU_0),
        EINVAL,
        mask(1 << 40),
    ),
    dom0(
        "affinity: no CPU within the map's length",
        affinity(flags=HARD, cpumap_hard={"bitmap": LIST, "nr_bits": 1}),
        EINVAL,
        mask(2),
    ),
    dom0(
        "affinity: soft map unmapped",
        affinity(flags=SOFT, cpumap_soft={"bitmap": UNMAPPED, "nr_bits": 64}),
        EFAULT,
    ),
    dom0("get affinity: none named", get_affinity(vcpu=0), EINVAL),
    dom0("get affinity: no such vCPU", get_affinity(vcpu=1, flags=HARD), EINVAL),
    dom0(
        "get affinity: map unmapped",
        get_affinity(flags=HARD, cpumap_hard={"bitmap": UNMAPPED, "nr_bits": 64}),
        EFAULT,
    ),
    dom0(
        "get affinity: the end of a long map unmapped",
        get_affinity(flags=HARD, cpumap_hard=TOO_LONG),
        EFAULT,
    ),
    dom0(
        "get affinity: soft map unmapped",
        get_affinity(flags=SOFT, cpumap_soft={"bitmap": UNMAPPED, "nr_bits": 64}),
        EFAULT,
    ),
    dom0("scheduler: another", weight(sched_id=abi.XEN_SCHEDULER_CREDIT, weight=1), EINVAL),
    dom0("scheduler: a cap", weight(weight=1, cap=1), EINVAL),
    dom0("scheduler: by vCPU", weight(abi.XEN_DOMCTL_SCHEDOP_putvcpuinfo), EINVAL),
    dom0("pause vCPU: running", pause_vcpu(abi.XEN_DOMCTL_gdbsx_pausevcpu), EBUSY),
    dom0("pause vCPU: no such", pause_vcpu(abi.XEN_DOMCTL_gdbsx_pausevcpu, 1), EINVAL, paused),
    dom0("unpause vCPU: running", pause_vcpu(abi.XEN_DOMCTL_gdbsx_unpausevcpu), EBUSY),
    dom0("unpause vCPU: no such", pause_vcpu(abi.XEN_DOMCTL_gdbsx_unpausevcpu, 9), EINVAL, paused),
    dom0("unpause vCPU: not paused", pause_vcpu(abi.XEN_DOMCTL_gdbsx_unpausevcpu), EINVAL, paused),
    dom0(
        "single step: no such vCPU",
        control(abi.XEN_DOMCTL_debug_op, debug_op={"vcpu": 1}),
        EINVAL,
    ),
    dom0("single step: itself", control(abi.XEN_DOMCTL_debug_op, 0), EINVAL),
    dom0("single step: unknown", control(abi.XEN_DOMCTL_debug_op, debug_op={"op": 9}), EINVAL),
]

CONTEXTS = [
    ("rip", {"user_regs": {"rip": BENT}}, EINVAL),
    ("event callback", {"event_callback_eip": BENT}, EINVAL),
    ("syscall callback", {"syscall_callback_eip": BENT}, EINVAL),
    ("failsafe callback", {"failsafe_callback_eip": BENT}, EINVAL),
    ("fs base", {"fs_base": BENT}, EINVAL),
    ("kernel gs base", {"gs_base_kernel": BENT}, EINVAL),
    ("user gs base", {"gs_base_user": BENT}, EINVAL),
    ("too many LDT entries", {"ldt_ents": 8193}, EINVAL),
    ("an LDT that is not at a page", {"ldt_base": 8}, EINVAL),
    ("an LDT in the core", {"ldt_ents": 1, "ldt_base": CORE}, EINVAL),
    ("an LDT nowhere", {"ldt_ents": 1, "ldt_base": BENT}, EINVAL),
    ("too many GDT entries", {"gdt_ents": 7169}, EINVAL),
    ("user mode without tables", {"flags": abi.VGCF_online, "ctrlreg": {1: 0}}, EINVAL),
    ("unknown assists", {"vm_assist": 1 << 63}, EINVAL),
    ("another GDT", {"gdt_ents": 1}, EOPNOTSUPP),
    ("another LDT", {"ldt_ents": 1}, EOPNOTSUPP),
    ("other tables", {"ctrlreg": {3: 0}}, EOPNOTSUPP),
    ("other user tables", {"ctrlreg": {1: PAGE}}, EOPNOTSUPP),
]
VCPUS += [dom0(f"set context: {why}", set_context(0, **c), e) for why, c, e in CONTEXTS]

MEMORY = [
    dom0(
        "hypercall_init: a page table",
        control(abi.XEN_DOMCTL_hypercall_init, hypercall_init={"gmfn": own_frame(3)}),
        EPERM,
    ),
    dom0(
        "hypercall_init: another's",
        control(
            abi.XEN_DOMCTL_hypercall_init,
            hypercall_init={"gmfn": lambda m: other(m).pages[FIRST_DATA_PAGE]},
        ),
        EINVAL,
    ),
    dom0(
        "address size: 32",
        address_size(32),
        EOPNOTSUPP,
    ),
    dom0(
        "address size: 16",
        address_size(16),
        EINVAL,
    ),
    dom0("tsc: emulate", tsc_mode(1), EOPNOTSUPP),
    dom0("tsc: unknown", tsc_mode(9), EINVAL),
    dom0(
        "node affinity: unmapped",
        control(
            abi.XEN_DOMCTL_setnodeaffinity,
            nodeaffinity={"nodemap": {"bitmap": UNMAPPED, "nr_bits": 64}},
        ),
        EFAULT,
    ),
    dom0(
        "node affinity: not node 0",
        control(abi.XEN_DOMCTL_setnodeaffinity, nodeaffinity={"nodemap": MAP_OF_CPU_0}),
        EINVAL,
        mask(2),
    ),
]


def question(cmd, version=abi.XEN_SYSCTL_INTERFACE_VERSION, kind=In, **u):
    fields = {"cmd": cmd, "interface_version": version, "u": u}
    return (SYSCTL, kind(abi.xen_sysctl, fields))


def keys(count):
    return question(abi.XEN_SYSCTL_debug_keys, debug_keys={"nr_keys": count, "keys": UNMAPPED})


def platform(cmd, version=abi.XENPF_INTERFACE_VERSION, kind=In, **u):
    fields = {"cmd": cmd, "interface_version": version, "u": u}
    return (PLATFORM, kind(abi.xen_platform_op, fields))


def firmware(type_, index=0, kind=In):
    fields = {"type": type_, "index": index}
    return platform(abi.XENPF_firmware_info, kind=kind, firmware_info=fields)


def sleep(state):
    return platform(abi.XENPF_enter_acpi_sleep, enter_acpi_sleep={"sleep_state": state})


def power(type_, pdc=UNMAPPED, cpu=0):
    fields = {"type": type_, "id": cpu, "u": {"pdc": pdc}}
    return platform(abi.XENPF_set_processor_pminfo, set_pminfo=fields)


def words(*values):
    """Where 32-bit words are."""
    return lambda machine: machine.dom0.put(b"".join(v.to_bytes(4, "little") for v in values))


def mca(cmd, version=abi.XEN_MCA_INTERFACE_VERSION, kind=In, **u):
    fields = {"cmd": cmd, "interface_version": version, "u": u}
    return (abi.__HYPERVISOR_arch_0, kind(abi.xen_mc, fields))


def cpus(ncpus, info=UNMAPPED):
    return mca(abi.XEN_MC_physcpuinfo, mc_physcpuinfo={"ncpus": ncpus, "info": info})


MACHINE = [
    Wrong("sysctl: not privileged", question(abi.XEN_SYSCTL_sched_id), EPERM),
    Wrong("platform_op: not privileged", platform(99), EPERM),
    dom0("sysctl: unmapped", (SYSCTL, UNMAPPED), EFAULT),
    dom0("sysctl: another version", question(3, version=1), EACCES),
    dom0("sysctl: no such operation", question(31), ENOSYS),
    dom0("sysctl: past the table", question(32), ENOSYS),
    dom0("sysctl: read-only", question(abi.XEN_SYSCTL_physinfo, kind=ReadOnly), EFAULT),
    dom0(
        "domain list: unmapped",
        question(
            abi.XEN_SYSCTL_getdomaininfolist,
            getdomaininfolist={"max_domains": 9, "buffer": UNMAPPED},
        ),
        EFAULT,
    ),
    dom0(
        "topology: unmapped",
        question(abi.XEN_SYSCTL_cputopoinfo, cputopoinfo={"num_cpus": 4, "cputopo": UNMAPPED}),
        EFAULT,
    ),
    dom0("debug keys: too many", keys(MOST_KEYS + 1), E2BIG),
    dom0("debug keys: unmapped", keys(1), EFAULT),
    dom0("platform: unmapped", (PLATFORM, UNMAPPED), EFAULT),
    dom0("platform: another version", platform(abi.XENPF_settime32, version=1), EACCES),
    dom0("platform: no such operation", platform(99), ENOSYS),
    dom0("platform: an operation of others", platform(abi.XENPF_platform_quirk), ENOSYS),
    dom0(
        "settime: a field that must be 0",
        platform(abi.XENPF_settime64, settime64={"mbz": 1}),
        EINVAL,
    ),
    dom0("firmware: no disks", firmware(abi.XEN_FW_DISK_INFO), -abi.ESRCH),
    dom0("firmware: no EFI", firmware(abi.XEN_FW_EFI_INFO), ENOSYS),
    dom0("firmware: unknown", firmware(99), EINVAL),
    dom0("firmware: one keyboard", firmware(abi.XEN_FW_KBD_SHIFT_FLAGS, 1), ESRCH),
    dom0(
        "firmware: read-only",
        firmware(abi.XEN_FW_KBD_SHIFT_FLAGS, kind=ReadOnly),
        EFAULT,
    ),
    dom0(
        "cpuinfo: read-only",
        platform(abi.XENPF_get_cpuinfo, kind=ReadOnly),
        EFAULT,
    ),
    dom0("power: states for the core", power(abi.XEN_PM_PX), ENOSYS),
    dom0("power: no such type", power(4), EINVAL),
    dom0("power: unmapped", power(abi.XEN_PM_PDC), EFAULT),
    dom0("power: another revision", power(abi.XEN_PM_PDC, words(2, 1, 0)), EINVAL),
    dom0("power: nothing", power(abi.XEN_PM_PDC, words(1, 0, 0)), EINVAL),
    dom0("power: no such processor", power(abi.XEN_PM_PDC, words(1, 1, 0), 1000), EINVAL),
    Wrong("mca: not privileged", mca(abi.XEN_MC_fetch), EPERM),
    dom0("mca: unmapped", (abi.__HYPERVISOR_arch_0, UNMAPPED), EFAULT),
    dom0("mca: another version", mca(abi.XEN_MC_fetch, version=1), EACCES),
    dom0("mca: no such command", mca(abi.XEN_MC_inject_v2), EINVAL),
    dom0("mca: read-only", mca(abi.XEN_MC_fetch, kind=ReadOnly), EFAULT),
    dom0("mca: room for no processor", cpus(0), EINVAL),
    dom0("mca: no room", cpus(9), EFAULT),
    dom0("sleep: no such state", sleep(6), EINVAL),
    dom0("sleep: awake", sleep(0), EINVAL),
    dom0("sleep: one that returns", sleep(3), EOPNOTSUPP),
]
for row in [*PRIVILEGE, *MACHINE]:
    row.leaves_trace = "read-only" in row.why


@pytest.mark.parametrize("row", [*PRIVILEGE, *LIFE, *VCPUS, *MEMORY, *MACHINE], ids=str)
def test_refused(machine, row):
    check(machine, row)


def test_a_context_of_traps_must_be_canonical(machine):
    """Every one of the 256."""
    at = context_of(machine)
    context = machine.dom0.get(abi.vcpu_guest_context, at)
    context.trap_ctxt[255].address = BENT
    machine.dom0.write(at, bytes(context))
    fields = {"vcpu": 0, "ctxt": at}
    op = machine.dom0.put(
        abi.xen_domctl,
        cmd=abi.XEN_DOMCTL_setvcpucontext,
        domain=1,
        interface_version=VERSION,
        u={"vcpucontext": fields},
    )
    assert machine.dom0.call(DOMCTL, op) == EINVAL


def test_an_ldt_of_no_entries_may_be_anywhere(machine):
    """Its base does not matter, so another one is no change."""
    fields = {"vcpu": 0, "ctxt": context_of(machine, ldt_base=5 * PAGE)}
    domctl(machine.dom0, abi.XEN_DOMCTL_setvcpucontext, 1, vcpucontext=fields)


def test_a_context_is_given_again(machine):
    """What the vCPU has may be set: so the table above refuses for what it changes."""
    at = context_of(machine)
    fields = {"vcpu": 0, "ctxt": at}
    domctl(machine.dom0, abi.XEN_DOMCTL_setvcpucontext, 1, vcpucontext=fields)
    assert guest(machine).call(abi.__HYPERVISOR_xen_version, abi.XENVER_version) > 0


def test_dom0_does_not_promise_the_firmware_what_it_cannot_do(machine):
    dom0 = machine.dom0
    pdc = dom0.put((1).to_bytes(4, "little") * 2 + (0xFFFF).to_bytes(4, "little"))
    fields = {"type": abi.XEN_PM_PDC, "id": 0xFFFFFFFF, "u": {"pdc": pdc}}
    op = dom0.put(
        abi.xen_platform_op,
        cmd=abi.XENPF_set_processor_pminfo,
        interface_version=abi.XENPF_INTERFACE_VERSION,
        u={"set_pminfo": fields},
    )
    assert dom0.call(PLATFORM, op) == 0
    assert dom0.words(pdc + 4, 1)[0] == 0x8FA << 32 | 1


def test_dom0_learns_of_all_processors_and_of_no_machine_check(machine):
    dom0 = machine.dom0

    def ask(cmd, **u):
        version = abi.XEN_MCA_INTERFACE_VERSION
        at = dom0.put(abi.xen_mc, cmd=cmd, interface_version=version, u=u)
        assert dom0.call(abi.__HYPERVISOR_arch_0, at) == 0
        return dom0.get(abi.xen_mc, at).u

    assert ask(abi.XEN_MC_fetch).mc_fetch.flags == abi.XEN_MC_NODATA
    count = ask(abi.XEN_MC_physcpuinfo).mc_physcpuinfo.ncpus
    info = dom0.put(bytes(1024))
    fields = {"ncpus": count + 5, "info": info}
    assert ask(abi.XEN_MC_physcpuinfo, mc_physcpuinfo=fields).mc_physcpuinfo.ncpus == count
    assert dom0.get(abi.mcinfo_logical_cpu, info).mc_cpunr == 0
