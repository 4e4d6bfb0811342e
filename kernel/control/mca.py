"""mca: domain 0's log of machine checks. It learns which processors there are, and of no machine
check, for the core handles none: a processor that raises one shuts down.
"""

import abi
from kpy import Guest, Ptr, Tainted, i64, ref, require, truncate, u16, u64, uninitialized

from kernel.base.guest_memory import copy_from_guest, copy_to_guest
from kernel.base.registry import hypercall
from kernel.state.vcpu import Vcpu
from kernel.x86.percpu import cpu_by_id, nr_cpus
from kernel.x86.topology import core_of, socket_of


@hypercall(abi.__HYPERVISOR_arch_0)
def do_mca(vcpu: Ptr[Vcpu], here: Guest[abi.xen_mc]) -> i64:
    """Serve domain 0's log of machine checks.

    Hypercall: mca(here: xen_mc, written back).
    Source: Xen public ABI, arch-x86/xen-mca.h.
    Errors: -EPERM, not dom0; -EFAULT; -EACCES, another interface version; -EINVAL, not a command of
    this core; those of `describe_cpus`.
    """
    require(vcpu.domain.is_privileged, -abi.EPERM)
    request = uninitialized(Tainted[abi.xen_mc])
    require(copy_from_guest(ref(request), here), -abi.EFAULT)
    require(request.interface_version == abi.XEN_MCA_INTERFACE_VERSION, -abi.EACCES)
    result: i64 = 0
    match request.cmd:
        case abi.XEN_MC_fetch:
            request.u.mc_fetch.flags = abi.XEN_MC_NODATA
            request.u.mc_fetch.fetch_id = 0
        case abi.XEN_MC_physcpuinfo:
            result = describe_cpus(ref(request.u.mc_physcpuinfo))
        case _:
            return -abi.EINVAL
    require(result == 0, result)
    require(copy_to_guest(here, ref(request)), -abi.EFAULT)
    return 0


def describe_cpus(request: Ptr[Tainted[abi.xen_mc_physcpuinfo]]) -> i64:
    """Say of each processor what it is called and where it sits; without a buffer, how many there
    are.

    Errors: -EINVAL, room for none; -EFAULT, the buffer.
    """
    count = nr_cpus
    if request.info.address() != 0:
        require(request.ncpus != 0, -abi.EINVAL)
        count = min(nr_cpus, request.ncpus)
        for cpu in range(count):
            apic_id = cpu_by_id(cpu).apic_id
            info = abi.mcinfo_logical_cpu(
                mc_cpunr=cpu,
                mc_apicid=apic_id,
                mc_chipid=socket_of(apic_id),
                mc_coreid=truncate(u16, core_of(apic_id)),
            )
            require(copy_to_guest(request.info.index(u64(cpu)), ref(info)), -abi.EFAULT)
    request.ncpus = count
    return 0
