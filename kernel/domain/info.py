"""What a domain looks like from outside.

The answer to XEN_DOMCTL_getdomaininfo and XEN_SYSCTL_getdomaininfolist.
"""

import abi
from kpy import Ptr, Tainted, atomic_load, ref, u16, u32, u64, zero

from kernel.base.ids import mfn_or_0
from kernel.sched.runstate import vcpu_runtime_ns
from kernel.state.domain import Domain, DOMDYING_dead
from kernel.state.vcpu import VPF_blocked, VPF_down


def domain_info(d: Ptr[Domain], info: Ptr[Tainted[abi.xen_domctl_getdomaininfo]]) -> None:
    """Describe a domain. Taken without locks: a snapshot of things that go on changing."""
    zero(info)
    info.domain = u16(d.domain_id)
    info.flags = describe_vcpus(d, info) | describe_life(d)
    info.ssidref = d.ssidref
    info.handle = d.handle
    info.tot_pages = u64(d.tot_pages)
    info.max_pages = u64(d.max_pages)
    info.shared_info_frame = mfn_or_0(d.shared_info_mfn)
    info.arch_config = d.arch_config


def describe_vcpus(d: Ptr[Domain], info: Ptr[Tainted[abi.xen_domctl_getdomaininfo]]) -> u32:
    """Count the online vCPUs and their time.

    Returns: the flags for "all are blocked" and "one is running".
    """
    flags: u32 = abi.XEN_DOMINF_blocked
    cpu_time: u64 = 0
    nr_online: u32 = 0
    info.max_vcpu_id = abi.XEN_INVALID_MAX_VCPU_ID
    for i in range(d.max_vcpus):
        v = d.vcpus[i]
        if v is None:
            continue
        cpu_time += vcpu_runtime_ns(v)
        info.max_vcpu_id = v.vcpu_id
        pause_flags = atomic_load(ref(v.pause_flags))
        if pause_flags & VPF_down:
            continue
        nr_online += 1
        if pause_flags & VPF_blocked == 0:
            flags &= ~abi.XEN_DOMINF_blocked
        if v.is_running:
            flags |= abi.XEN_DOMINF_running
    info.cpu_time = cpu_time
    info.nr_online_vcpus = nr_online
    return flags if nr_online else 0


def describe_life(d: Ptr[Domain]) -> u32:
    """Return the flags for what became of the domain as a whole.

    Its shutdown code is among them.
    """
    flags = d.shutdown_code << abi.XEN_DOMINF_shutdownshift
    if d.is_dying == DOMDYING_dead:
        flags |= abi.XEN_DOMINF_dying
    if d.is_shut_down:
        flags |= abi.XEN_DOMINF_shutdown
    if d.controller_pause_count != 0:
        flags |= abi.XEN_DOMINF_paused
    if d.debugger_attached:
        flags |= abi.XEN_DOMINF_debugged
    if d.flags & abi.XEN_DOMCTL_CDF_xs_domain:
        flags |= abi.XEN_DOMINF_xs_domain
    return flags
