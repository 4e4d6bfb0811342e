"""sysctl: what the toolstack asks about the machine rather than about one domain."""

import abi
from kpy import (
    Array,
    Fn,
    Guest,
    Ptr,
    Tainted,
    i64,
    popcount,
    ref,
    require,
    saturating_sub,
    static,
    store,
    truncate,
    u8,
    u16,
    u32,
    u64,
    uninitialized,
)

from kernel.base.guest_memory import copy_from_guest, copy_slice_to_guest, copy_to_guest
from kernel.base.ids import DomId
from kernel.base.registry import hypercall, sysctl, sysctls
from kernel.console.console import console_read_ring, console_ring_clear
from kernel.domain.info import domain_info
from kernel.frames.allocation import free_frames
from kernel.panic.debug_keys import MOST_KEYS, handle_keys_from_guest
from kernel.state.domain import first_domain_from
from kernel.state.frame_table import max_page, total_frames
from kernel.state.vcpu import Vcpu
from kernel.x86.numa import nr_nodes
from kernel.x86.percpu import online_cpus
from kernel.x86.topology import cores_per_socket, threads_per_core
from kernel.x86.tsc import tsc_khz

NR_SYSCTLS = 32


@hypercall(abi.__HYPERVISOR_sysctl)
def do_sysctl(vcpu: Ptr[Vcpu], from_guest: Guest[abi.xen_sysctl]) -> i64:
    """Serve one question about the machine.

    Hypercall: sysctl(op: xen_sysctl in the guest; the answer is written there).
    Errors: -EFAULT, the structure; -EACCES, interface version is not 4.17's; -EPERM, the caller is
    not domain 0; -ENOSYS, no such operation; and those of the operation.
    """
    op = uninitialized(Tainted[abi.xen_sysctl])
    require(copy_from_guest(ref(op), from_guest), -abi.EFAULT)
    require(op.interface_version == abi.XEN_SYSCTL_INTERFACE_VERSION, -abi.EACCES)
    require(vcpu.domain.is_privileged, -abi.EPERM)
    require(op.cmd < NR_SYSCTLS, -abi.ENOSYS)
    operation = operations[op.cmd]
    require(operation is not None, -abi.ENOSYS)
    result = operation(ref(op))
    require(result != 0 or copy_to_guest(from_guest, ref(op)), -abi.EFAULT)
    return result


@sysctl(abi.XEN_SYSCTL_readconsole)
def sysctl_readconsole(request: Ptr[Tainted[abi.xen_sysctl_readconsole]]) -> i64:
    """Copy the core's recent console output, from `index` on when `incremental`, else all that is
    kept.

    Errors: -EFAULT, the buffer.
    """
    chunk = uninitialized(Tainted[Array[u8, 256]])
    index = u64(request.index) if request.incremental else 0
    copied: u64 = 0
    room = u64(request.count)
    while copied < room:
        count, index = console_read_ring(
            index, chunk[0 : min(saturating_sub(room, copied), len(chunk))]
        )
        if count == 0:
            break
        to = request.buffer.index(copied).cast(u8)
        require(copy_slice_to_guest(to, chunk[0:count]), -abi.EFAULT)
        copied += count
    request.count = truncate(u32, copied)
    request.index = truncate(u32, index)
    if request.clear:
        console_ring_clear()
    return 0


@sysctl(abi.XEN_SYSCTL_debug_keys)
def sysctl_debug_keys(request: Ptr[Tainted[abi.xen_sysctl_debug_keys]]) -> i64:
    """Handle debug keys, as if they had been typed on the serial line.

    Errors: -E2BIG, more than MOST_KEYS; -EFAULT, the buffer.
    """
    require(request.nr_keys <= MOST_KEYS, -abi.E2BIG)
    require(handle_keys_from_guest(request.keys.cast(u8), request.nr_keys), -abi.EFAULT)
    return 0


@sysctl(abi.XEN_SYSCTL_physinfo)
def sysctl_physinfo(info: Ptr[Tainted[abi.xen_sysctl_physinfo]]) -> i64:
    """Describe the machine: processors, memory, what kinds of domain it can run."""
    nr_cpus = truncate(u32, popcount(online_cpus()))
    made = Tainted[abi.xen_sysctl_physinfo](
        threads_per_core=threads_per_core(),
        cores_per_socket=cores_per_socket(),
        nr_cpus=nr_cpus,
        max_cpu_id=nr_cpus - 1,
        nr_nodes=nr_nodes,
        max_node_id=nr_nodes - 1,
        cpu_khz=truncate(u32, tsc_khz),
        capabilities=abi.XEN_SYSCTL_PHYSCAP_pv | abi.XEN_SYSCTL_PHYSCAP_gnttab_v1,
        total_pages=total_frames(),
        free_pages=free_frames(),
        max_mfn=max_page - 1,
    )
    store(info, made)
    return 0


@sysctl(abi.XEN_SYSCTL_sched_id)
def sysctl_sched_id(op: Ptr[Tainted[abi.xen_sysctl_sched_id]]) -> i64:
    """Name the scheduler whose parameters ours take: credit2's weights."""
    op.sched_id = abi.XEN_SCHEDULER_CREDIT2
    return 0


@sysctl(abi.XEN_SYSCTL_getdomaininfolist)
def sysctl_getdomaininfolist(request: Ptr[Tainted[abi.xen_sysctl_getdomaininfolist]]) -> i64:
    """Describe up to `max_domains` domains, in the order of their ids, beginning with
    `first_domain`.

    Errors: -EFAULT, the buffer.
    """
    following = DomId(request.first_domain)
    count: u32 = 0
    request.num_domains = 0
    while count < request.max_domains:
        with first_domain_from(following) as domain:
            if domain is None:
                break
            info = Tainted[abi.xen_domctl_getdomaininfo]()
            domain_info(domain, ref(info))
            to = request.buffer.index(u64(count))
            require(copy_to_guest(to, ref(info)), -abi.EFAULT)
            following = DomId(u16(domain.domain_id) + 1)
        count += 1
        request.num_domains = count
    return 0


Operation = Fn[[Ptr[Tainted[abi.xen_sysctl]]], i64]
operations = static(Array[Operation | None, NR_SYSCTLS], sysctls)
