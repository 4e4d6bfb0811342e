"""sysctl: how the machine's processors and memory lie to each other."""

import abi
from kpy import Ptr, Tainted, i64, ref, require, u32, u64

from kernel.base.guest_memory import copy_to_guest
from kernel.base.ids import PAGE_SIZE
from kernel.base.registry import sysctl
from kernel.frames.allocation import free_frames
from kernel.frames.heap_query import free_frames_between
from kernel.state.frame_table import max_page
from kernel.x86.numa import distance, node_bytes, node_of_cpu, node_ranges, nr_nodes, nr_ranges
from kernel.x86.percpu import cpu_by_id, nr_cpus
from kernel.x86.topology import core_of, socket_of


@sysctl(abi.XEN_SYSCTL_cputopoinfo)
def sysctl_cputopoinfo(request: Ptr[Tainted[abi.xen_sysctl_cputopoinfo]]) -> i64:
    """Say of each processor which core, socket and node it belongs to; with a null buffer, how many
    there are.

    Errors: -EFAULT, the buffer.
    """
    count = nr_cpus
    if request.cputopo.address() != 0:
        count = min(nr_cpus, request.num_cpus)
        for cpu in range(count):
            apic_id = cpu_by_id(cpu).apic_id
            topology = abi.xen_sysctl_cputopo(
                core=core_of(apic_id), socket=socket_of(apic_id), node=node_of_cpu(apic_id)
            )
            require(copy_to_guest(request.cputopo.index(u64(cpu)), ref(topology)), -abi.EFAULT)
    request.num_cpus = count
    return 0


@sysctl(abi.XEN_SYSCTL_numainfo)
def sysctl_numainfo(request: Ptr[Tainted[abi.xen_sysctl_numainfo]]) -> i64:
    """Say how much memory each node has, and how far each is from each; with both buffers null, how
    many there are.

    Errors: -EFAULT, a buffer.
    """
    count = nr_nodes
    if request.meminfo.address() | request.distance.address() != 0:
        count = min(nr_nodes, request.num_nodes)
    for node in range(count):
        if request.meminfo.address() != 0:
            memory = node_memory(node)
            require(copy_to_guest(request.meminfo.index(u64(node)), ref(memory)), -abi.EFAULT)
        if request.distance.address() != 0:
            for other in range(count):
                far = distance(node, other)
                to = request.distance.index(u64(node) * u64(count) + u64(other))
                require(copy_to_guest(to, ref(far)), -abi.EFAULT)
    request.num_nodes = count
    return 0


def node_memory(node: u32) -> abi.xen_sysctl_meminfo:
    """Return how much memory a node has, and how much of it is free."""
    if nr_nodes == 1:
        return abi.xen_sysctl_meminfo(
            memsize=max_page * PAGE_SIZE, memfree=free_frames() * PAGE_SIZE
        )
    free: u64 = 0
    for i in range(nr_ranges):
        if node_ranges[i].node == node:
            first, end = node_ranges[i].start // PAGE_SIZE, node_ranges[i].end // PAGE_SIZE
            free += free_frames_between(first, end)
    return abi.xen_sysctl_meminfo(memsize=node_bytes(node), memfree=free * PAGE_SIZE)
