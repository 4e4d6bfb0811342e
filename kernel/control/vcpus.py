"""domctl operations on the vCPUs of a domain: how many, their registers, where and how much they
run.
"""

import abi
from kpy import Ptr, Result, Tainted, i64, ok, ref, require, trusted, u16, u32, uninitialized

from kernel.base.guest_bitmap import read_bitmap, write_bitmap
from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.registry import domctl
from kernel.domain.life import alloc_vcpu
from kernel.domain.vcpu_context import arch_get_vcpu_context, arch_set_vcpu_context
from kernel.sched.pause import domain_pause, domain_unpause
from kernel.sched.place import set_hard_affinity
from kernel.sched.runstate import vcpu_runtime_ns
from kernel.sched.time import update_wallclock
from kernel.state.domain import Domain
from kernel.state.vcpu import MAX_VCPUS, Vcpu, VPF_blocked, VPF_down
from kernel.x86.percpu import online_cpus


def vcpu_of(d: Ptr[Domain], vcpu_id: Tainted[u32]) -> Ptr[Vcpu] | None:
    """Return a vCPU by number, None when there is none."""
    if vcpu_id >= MAX_VCPUS:
        return None
    return d.vcpus[vcpu_id]


@domctl(abi.XEN_DOMCTL_max_vcpus)
def domctl_max_vcpus(
    caller: Ptr[Vcpu], d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_max_vcpus]]
) -> i64:
    """Make the vCPUs of a new domain.

    Errors: -EINVAL, none wanted, or not the number given at creation; -ENOMEM.
    """
    require(op.max != 0 and op.max == d.max_vcpus and caller.domain != d, -abi.EINVAL)
    for i in range(d.max_vcpus):
        if d.vcpus[i] is None:
            require(alloc_vcpu(d, i) is not None, -abi.ENOMEM)
    return 0


@domctl(abi.XEN_DOMCTL_setvcpucontext)
def domctl_setvcpucontext(
    caller: Ptr[Vcpu], d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_vcpucontext]]
) -> i64:
    """Set the registers with which a vCPU starts.

    Errors: -EINVAL, the caller itself, no such vCPU, or impossible registers; -EFAULT, the
    structure.
    """
    vcpu = vcpu_of(d, op.vcpu)
    require(vcpu is not None and caller.domain != d, -abi.EINVAL)
    context = uninitialized(Tainted[abi.vcpu_guest_context])
    require(copy_from_guest(ref(context), op.ctxt), -abi.EFAULT)
    domain_pause(d)
    result = arch_set_vcpu_context(vcpu, ref(context))
    if result == 0 and vcpu.vcpu_id == 0:
        update_wallclock(d)
    domain_unpause(d)
    return result


@domctl(abi.XEN_DOMCTL_getvcpucontext, result=True)
def domctl_getvcpucontext(
    caller: Ptr[Vcpu], d: Ptr[Domain], op: Ptr[Tainted[abi.xen_domctl_vcpucontext]]
) -> i64:
    """Store the registers of a vCPU, stopped meanwhile, in the caller's structure.

    Errors: -EINVAL, the caller itself or no such vCPU; -ENODATA, it was never started; -EFAULT.
    """
    vcpu = vcpu_of(d, op.vcpu)
    require(vcpu is not None and caller.domain != d, -abi.EINVAL)
    require(vcpu.initialised, -abi.ENODATA)
    context = Tainted[abi.vcpu_guest_context]()
    domain_pause(d)
    arch_get_vcpu_context(vcpu, ref(context))
    domain_unpause(d)
    require(copy_to_guest(op.ctxt, ref(context)), -abi.EFAULT)
    return 0


@domctl(abi.XEN_DOMCTL_getvcpuinfo, result=True)
def domctl_getvcpuinfo(d: Ptr[Domain], info: Ptr[Tainted[abi.xen_domctl_getvcpuinfo]]) -> i64:
    """Say whether a vCPU is online, blocked, running, where, and how long it ran.

    Errors: -EINVAL, a number that no vCPU can have; -ESRCH, no such vCPU.
    """
    require(info.vcpu < d.max_vcpus, -abi.EINVAL)
    vcpu = vcpu_of(d, info.vcpu)
    require(vcpu is not None, -abi.ESRCH)
    info.online = 0 if vcpu.pause_flags & VPF_down else 1
    info.blocked = 1 if vcpu.pause_flags & VPF_blocked else 0
    info.running = 1 if vcpu.is_running else 0
    info.cpu_time = vcpu_runtime_ns(vcpu)
    info.cpu = vcpu.processor
    return 0


@domctl(abi.XEN_DOMCTL_setvcpuaffinity, result=True)
def domctl_setvcpuaffinity(
    d: Ptr[Domain], affinity: Ptr[Tainted[abi.xen_domctl_vcpuaffinity]]
) -> i64:
    """Restrict a vCPU to some physical CPUs (hard affinity); the effective ones are told. Soft
    affinity is only remembered.

    Errors: -EINVAL, no affinity named, a number that no vCPU has, or no online CPU in the mask;
    -ESRCH, no such vCPU yet; -EFAULT.
    """
    ok(check_affinity(d, affinity))
    vcpu = vcpu_of(d, affinity.vcpu)
    require(vcpu is not None, -abi.ESRCH)
    if affinity.flags & abi.XEN_VCPUAFFINITY_HARD:
        wanted = ok(read_bitmap(ref(affinity.cpumap_hard)))
        effective = wanted & online_cpus()
        require(effective != 0, -abi.EINVAL)
        set_hard_affinity(vcpu, wanted)
        require(write_bitmap(ref(affinity.cpumap_hard), effective), -abi.EFAULT)
    if affinity.flags & abi.XEN_VCPUAFFINITY_SOFT:
        preferred = ok(read_bitmap(ref(affinity.cpumap_soft)))
        require(preferred & online_cpus() != 0, -abi.EINVAL)
        vcpu.sched.soft_affinity = preferred
        effective = preferred & vcpu.sched.affinity & online_cpus()
        require(write_bitmap(ref(affinity.cpumap_soft), effective), -abi.EFAULT)
    return 0


def check_affinity(
    d: Ptr[Domain], affinity: Ptr[Tainted[abi.xen_domctl_vcpuaffinity]]
) -> Result[None]:
    """Check what both operations on affinity have in common."""
    known: u32 = abi.XEN_VCPUAFFINITY_HARD | abi.XEN_VCPUAFFINITY_SOFT
    require(affinity.vcpu < d.max_vcpus and affinity.flags & known != 0, -abi.EINVAL)


@domctl(abi.XEN_DOMCTL_getvcpuaffinity)
def domctl_getvcpuaffinity(
    d: Ptr[Domain], affinity: Ptr[Tainted[abi.xen_domctl_vcpuaffinity]]
) -> i64:
    """Tell the CPUs on which a vCPU may run, and those that were said to be best.

    Errors: -EINVAL, no affinity named, or a number that no vCPU has; -ESRCH, no such vCPU yet;
    -EFAULT.
    """
    ok(check_affinity(d, affinity))
    vcpu = vcpu_of(d, affinity.vcpu)
    require(vcpu is not None, -abi.ESRCH)
    if affinity.flags & abi.XEN_VCPUAFFINITY_HARD:
        require(write_bitmap(ref(affinity.cpumap_hard), vcpu.sched.affinity), -abi.EFAULT)
    if affinity.flags & abi.XEN_VCPUAFFINITY_SOFT:
        require(write_bitmap(ref(affinity.cpumap_soft), vcpu.sched.soft_affinity), -abi.EFAULT)
    return 0


@domctl(abi.XEN_DOMCTL_scheduler_op, result=True)
def domctl_scheduler_op(d: Ptr[Domain], request: Ptr[Tainted[abi.xen_domctl_scheduler_op]]) -> i64:
    """Get or set the weight of a domain, in credit2's terms.

    A weight of 0 leaves it as it is.

    Errors: -EINVAL, another scheduler's parameters, a cap, per-vCPU parameters.
    """
    require(request.sched_id == abi.XEN_SCHEDULER_CREDIT2, -abi.EINVAL)
    match request.cmd:
        case abi.XEN_DOMCTL_SCHEDOP_getinfo:
            request.u.credit2.weight = u16(d.sched_weight)
            request.u.credit2.cap = 0
            return 0
        case abi.XEN_DOMCTL_SCHEDOP_putinfo:
            require(request.u.credit2.cap == 0, -abi.EINVAL)
            weight = u32(request.u.credit2.weight)
            if weight != 0:
                d.sched_weight = trusted(weight)  # of 16 bits, not 0
            return 0
        case _:
            return -abi.EINVAL
