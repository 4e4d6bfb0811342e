"""memory_op on our own memory, and what the machine's looks like; sysctl."""

import abi
from kpy import Array, Guest, Ptr, Slice, i64, load, ref, static, u8, u16, u32, u64

from libos.hypercall import hypercall, update_va_mapping
from libos.layout import PAGE_SHIFT, pfn_of
from libos.memory import PTE_KERNEL
from libos.pages import alloc_pages
from libos.start_info import boot
from tests.guests.kernels.probes import ground
from tests.guests.kernels.probes.ground import (
    CORE_ADDRESS,
    NO_DOMAIN,
    NO_FRAME,
    WILD_ADDRESS,
    frame_of,
)
from tests.guests.kernels.probes.transcript import fact, tell, tell_each, truth

MANY = 64
NR_COMMANDS = 32
UNTOUCHED = 77
NO_SYSCTL = 99

reservation = static(abi.xen_memory_reservation)
exchange = static(abi.xen_memory_exchange)
list_ = static(Array[u64, MANY])
new_list = static(Array[u64, MANY])
memory_map = static(abi.xen_memory_map)
foreign_map = static(abi.xen_foreign_memory_map)
entries = static(Array[abi.e820entry, 128])
physmap = static(abi.xen_add_to_physmap)
removal = static(abi.xen_remove_from_physmap)
pod = static(abi.xen_pod_target)
numa = static(abi.xen_vnuma_topology_info)
mapping = static(abi.xen_machphys_mapping)
pieces = static(abi.xen_machphys_mfn_list)
domain = static(abi.xen_memory_domain)
request = static(abi.xen_sysctl)
text = static(Array[u8, 4096])
infos = static(Array[abi.xen_domctl_getdomaininfo, 4])
cpus = static(Array[abi.xen_sysctl_cputopo, 8])
nodes = static(Array[abi.xen_sysctl_meminfo, 8])
distances = static(Array[u32, 64])


def memory(command: u64, argument: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_memory_op, command, argument, 0, 0, 0)


def ask_memories() -> None:
    for command in range(NR_COMMANDS):
        tell_each(b"memory_op unmapped, command", u64(command), memory(u64(command), WILD_ADDRESS))
    ask_amounts()
    ask_reservations()
    ask_exchanges()
    ask_maps()
    ask_physmap()
    ask_machphys()
    ask_claims()


def about(target: u16, command: u64) -> i64:
    domain.domid = target
    return memory(command, u64(ref(domain)))


def ask_amounts() -> None:
    truth(b"XENMEM_maximum_ram_page", memory(abi.XENMEM_maximum_ram_page, 0) > 0)
    own = about(abi.DOMID_SELF, abi.XENMEM_current_reservation)
    truth(b"XENMEM_current_reservation is what we were told", u64(own) >= boot().nr_pages)
    fact(b"XENMEM_maximum_reservation", u64(about(abi.DOMID_SELF, abi.XENMEM_maximum_reservation)))
    tell(b"XENMEM_maximum_gpfn", about(abi.DOMID_SELF, abi.XENMEM_maximum_gpfn))
    tell(b"XENMEM_current_reservation missing", about(NO_DOMAIN, abi.XENMEM_current_reservation))
    tell(b"XENMEM_maximum_reservation missing", about(NO_DOMAIN, abi.XENMEM_maximum_reservation))
    tell(b"XENMEM_maximum_gpfn missing", about(NO_DOMAIN, abi.XENMEM_maximum_gpfn))
    tell(b"XENMEM_get_sharing_freed_pages", memory(abi.XENMEM_get_sharing_freed_pages, 0))
    tell(b"XENMEM_get_sharing_shared_pages", memory(abi.XENMEM_get_sharing_shared_pages, 0))
    extent = u64(1) << 6
    tell(b"XENMEM_maximum_ram_page with an extent", memory(abi.XENMEM_maximum_ram_page | extent, 0))
    removal.domid = abi.DOMID_SELF
    tell(
        b"XENMEM_remove_from_physmap with an extent",
        memory(abi.XENMEM_remove_from_physmap | extent, u64(ref(removal))),
    )
    tell(
        b"XENMEM_current_reservation with an extent",
        about(abi.DOMID_SELF, abi.XENMEM_current_reservation | extent),
    )


def reserve(command: u64, count: u64, order: u32, flags: u32) -> i64:
    reservation.extent_start = Guest[u64](u64(ref(list_)))
    reservation.nr_extents = count
    reservation.extent_order = order
    reservation.mem_flags = flags
    reservation.domid = abi.DOMID_SELF
    return memory(command, u64(ref(reservation)))


def ask_reservations() -> None:
    """Pages given up and taken again, in every way that leaves us whole."""
    give, take = u64(abi.XENMEM_decrease_reservation), u64(abi.XENMEM_populate_physmap)
    page = alloc_pages(1)
    list_[0] = frame_of(page)
    tell(b"XENMEM_decrease_reservation mapped", reserve(give, 1, 0, 0))
    truth(b"XENMEM_decrease_reservation mapped, page stays", load(Ptr[u64](page)) == 0)
    other = alloc_pages(1)
    list_[0] = frame_of(other)
    update_va_mapping(other, 0, abi.UVMF_INVLPG)
    before = about(abi.DOMID_SELF, abi.XENMEM_current_reservation)
    tell(b"XENMEM_decrease_reservation", reserve(give, 1, 0, 0))
    after = about(abi.DOMID_SELF, abi.XENMEM_current_reservation)
    tell(b"XENMEM_decrease_reservation frames less", before - after)
    tell(b"XENMEM_decrease_reservation again", reserve(give, 1, 0, 0))
    list_[0] = frame_of(boot().pt_base)
    tell(b"XENMEM_decrease_reservation page table", reserve(give, 1, 0, 0))
    list_[0] = NO_FRAME
    tell(b"XENMEM_decrease_reservation missing frame", reserve(give, 1, 0, 0))
    list_[0] = u64(pfn_of(other))
    tell(b"XENMEM_populate_physmap again", reserve(take, 1, 0, 0))
    truth(b"XENMEM_populate_physmap a frame", list_[0] != u64(pfn_of(other)))
    seen = load(Ptr[u64](abi.MACH2PHYS_VIRT_START + 8 * list_[0]))
    truth(b"XENMEM_populate_physmap enters the page's number", seen == u64(pfn_of(other)))
    frame = list_[0]
    result = update_va_mapping(other, frame << PAGE_SHIFT | PTE_KERNEL, abi.UVMF_INVLPG)
    tell(b"XENMEM_populate_physmap can be mapped", result)
    update_va_mapping(other, 0, abi.UVMF_INVLPG)
    list_[0] = frame
    reserve(give, 1, 0, 0)
    for kind in range(3):
        flags = u32(1) << u32(kind + 16)
        list_[0] = 0x5000
        result = reserve(take, 1, 0, flags)
        tell_each(b"XENMEM_populate_physmap with flag", u64(flags), result)
        if result == 1:
            give_up_list(1)
    list_[0] = 0x5000
    tell(b"XENMEM_populate_physmap below 4 KiB", reserve(take, 1, 0, 12))
    tell(b"XENMEM_populate_physmap below 8 KiB", reserve(take, 1, 0, 13))
    tell(b"XENMEM_populate_physmap on node 5", reserve(take, 1, 0, 6 << 8))
    give_up_list(1)
    tell(b"XENMEM_increase_reservation", reserve(abi.XENMEM_increase_reservation, 1, 0, 0))
    give_up_list(1)
    tell(b"XENMEM_populate_physmap order 19", reserve(take, 1, 19, 0))
    tell(b"XENMEM_populate_physmap order 31", reserve(take, 1, 31, 0))
    tell(b"XENMEM_populate_physmap none", reserve(take, 0, 0, 0))
    extent = u64(5) << 6
    tell(b"XENMEM_populate_physmap going on behind the end", reserve(take | extent, 3, 0, 0))


def give_up_list(count: u64) -> None:
    reserve(abi.XENMEM_decrease_reservation, count, 0, 0)


def trade(in_count: u64, in_order: u32, out_count: u64, out_order: u32) -> i64:
    exchange.in_.extent_start = Guest[u64](u64(ref(list_)))
    exchange.in_.nr_extents = in_count
    exchange.in_.extent_order = in_order
    exchange.in_.domid = abi.DOMID_SELF
    exchange.out.extent_start = Guest[u64](u64(ref(new_list)))
    exchange.out.nr_extents = out_count
    exchange.out.extent_order = out_order
    exchange.out.domid = abi.DOMID_SELF
    exchange.nr_exchanged = 0
    return memory(abi.XENMEM_exchange, u64(ref(exchange)))


def ask_exchanges() -> None:
    page = alloc_pages(2)
    list_[0] = frame_of(page)
    list_[1] = frame_of(page + 4096)
    new_list[0] = u64(pfn_of(page))
    new_list[1] = u64(pfn_of(page + 4096))
    tell(b"XENMEM_exchange mapped", trade(1, 0, 1, 0))
    fact(b"XENMEM_exchange mapped, done", exchange.nr_exchanged)
    tell(b"XENMEM_exchange sizes differ", trade(1, 0, 1, 1))
    tell(b"XENMEM_exchange order 30", trade(1, 30, 1, 30))
    update_va_mapping(page, 0, abi.UVMF_INVLPG)
    update_va_mapping(page + 4096, 0, abi.UVMF_INVLPG)
    old = list_[0]
    tell(b"XENMEM_exchange two for two", trade(2, 0, 2, 0))
    fact(b"XENMEM_exchange two for two, done", exchange.nr_exchanged)
    truth(b"XENMEM_exchange gives others", new_list[0] != old)
    tell(b"XENMEM_exchange what is gone", trade(1, 0, 1, 0))
    list_[0] = new_list[0]
    list_[1] = new_list[1]
    new_list[0] = u64(pfn_of(page)) | 1  # odd, wherever the page is: no pair begins there
    tell(b"XENMEM_exchange two for a pair", trade(2, 0, 1, 1))
    fact(b"XENMEM_exchange two for a pair, done", exchange.nr_exchanged)
    truth(b"XENMEM_exchange a pair is aligned", new_list[0] % 2 == 0)
    list_[0] = new_list[0]
    new_list[0] = u64(pfn_of(page))
    new_list[1] = u64(pfn_of(page + 4096))
    tell(b"XENMEM_exchange a pair for two", trade(1, 1, 2, 0))
    exchange.nr_exchanged = 9
    tell(b"XENMEM_exchange too much done", memory(abi.XENMEM_exchange, u64(ref(exchange))))
    exchange.nr_exchanged = 0
    exchange.out.domid = NO_DOMAIN
    tell(b"XENMEM_exchange two domains", memory(abi.XENMEM_exchange, u64(ref(exchange))))
    exchange.in_.domid = NO_DOMAIN
    tell(b"XENMEM_exchange missing domain", memory(abi.XENMEM_exchange, u64(ref(exchange))))
    exchange.in_.domid = abi.DOMID_SELF
    exchange.out.domid = abi.DOMID_SELF
    exchange.in_.extent_start = Guest[u64](WILD_ADDRESS)
    tell(b"XENMEM_exchange unmapped list", memory(abi.XENMEM_exchange, u64(ref(exchange))))
    exchange.in_.extent_start = Guest[u64](CORE_ADDRESS)
    tell(b"XENMEM_exchange list in the core", memory(abi.XENMEM_exchange, u64(ref(exchange))))


def ask_maps() -> None:
    here = u64(ref(memory_map))
    tell(b"XENMEM_memory_map not set", memory(abi.XENMEM_memory_map, here))
    memory_map.buffer = 0
    memory_map.nr_entries = 0
    result = memory(abi.XENMEM_machine_memory_map, here)
    tell(b"XENMEM_machine_memory_map count", result)
    truth(b"XENMEM_machine_memory_map has entries", memory_map.nr_entries > 3)
    memory_map.buffer = u64(ref(entries))
    memory_map.nr_entries = 1
    tell(b"XENMEM_machine_memory_map no room", memory(abi.XENMEM_machine_memory_map, here))
    memory_map.nr_entries = len(entries)
    tell(b"XENMEM_machine_memory_map", memory(abi.XENMEM_machine_memory_map, here))
    fact(b"XENMEM_machine_memory_map first address", entries[0].addr)
    fact(b"XENMEM_machine_memory_map first type", u64(entries[0].type))
    memory_map.buffer = WILD_ADDRESS
    memory_map.nr_entries = len(entries)
    tell(b"XENMEM_machine_memory_map unmapped", memory(abi.XENMEM_machine_memory_map, here))
    there = u64(ref(foreign_map))
    foreign_map.domid = abi.DOMID_SELF
    foreign_map.map.nr_entries = 2
    foreign_map.map.buffer = u64(ref(entries))
    tell(b"XENMEM_set_memory_map own", memory(abi.XENMEM_set_memory_map, there))
    memory_map.buffer = u64(ref(entries))
    memory_map.nr_entries = len(entries)
    tell(b"XENMEM_memory_map", memory(abi.XENMEM_memory_map, here))
    fact(b"XENMEM_memory_map entries", u64(memory_map.nr_entries))
    memory_map.nr_entries = 1
    tell(b"XENMEM_memory_map little room", memory(abi.XENMEM_memory_map, here))
    fact(b"XENMEM_memory_map little room, entries", u64(memory_map.nr_entries))
    memory_map.buffer = WILD_ADDRESS
    tell(b"XENMEM_memory_map unmapped", memory(abi.XENMEM_memory_map, here))
    foreign_map.map.nr_entries = 100_000
    tell(b"XENMEM_set_memory_map too many", memory(abi.XENMEM_set_memory_map, there))
    foreign_map.map.nr_entries = 2
    foreign_map.map.buffer = WILD_ADDRESS
    tell(b"XENMEM_set_memory_map unmapped", memory(abi.XENMEM_set_memory_map, there))
    foreign_map.domid = NO_DOMAIN
    tell(b"XENMEM_set_memory_map missing domain", memory(abi.XENMEM_set_memory_map, there))


def ask_physmap() -> None:
    for space in range(7):
        physmap.domid = abi.DOMID_SELF
        physmap.space = u32(space)
        result = memory(abi.XENMEM_add_to_physmap, u64(ref(physmap)))
        tell_each(b"XENMEM_add_to_physmap space", u64(space), result)
    physmap.domid = NO_DOMAIN
    physmap.space = abi.XENMAPSPACE_gmfn
    tell(b"XENMEM_add_to_physmap missing", memory(abi.XENMEM_add_to_physmap, u64(ref(physmap))))
    removal.domid = abi.DOMID_SELF
    removal.gpfn = frame_of(ground.page)
    tell(
        b"XENMEM_remove_from_physmap own", memory(abi.XENMEM_remove_from_physmap, u64(ref(removal)))
    )
    removal.gpfn = ground.foreign
    tell(
        b"XENMEM_remove_from_physmap foreign",
        memory(abi.XENMEM_remove_from_physmap, u64(ref(removal))),
    )
    removal.domid = NO_DOMAIN
    tell(
        b"XENMEM_remove_from_physmap missing",
        memory(abi.XENMEM_remove_from_physmap, u64(ref(removal))),
    )
    pod.domid = abi.DOMID_SELF
    tell(b"XENMEM_get_pod_target own", memory(abi.XENMEM_get_pod_target, u64(ref(pod))))
    tell(b"XENMEM_set_pod_target own", memory(abi.XENMEM_set_pod_target, u64(ref(pod))))
    pod.domid = NO_DOMAIN
    tell(b"XENMEM_get_pod_target missing", memory(abi.XENMEM_get_pod_target, u64(ref(pod))))
    tell(b"XENMEM_set_pod_target missing", memory(abi.XENMEM_set_pod_target, u64(ref(pod))))
    numa.domid = abi.DOMID_SELF
    tell(b"XENMEM_get_vnumainfo own", memory(abi.XENMEM_get_vnumainfo, u64(ref(numa))))
    numa.pad = 1
    tell(b"XENMEM_get_vnumainfo pad", memory(abi.XENMEM_get_vnumainfo, u64(ref(numa))))
    numa.pad = 0
    numa.domid = NO_DOMAIN
    tell(b"XENMEM_get_vnumainfo missing", memory(abi.XENMEM_get_vnumainfo, u64(ref(numa))))


def ask_machphys() -> None:
    tell(b"XENMEM_machphys_mapping", memory(abi.XENMEM_machphys_mapping, u64(ref(mapping))))
    fact(b"XENMEM_machphys_mapping start", mapping.v_start)
    fact(b"XENMEM_machphys_mapping end", mapping.v_end)
    here = u64(ref(pieces))
    pieces.extent_start = Guest[u64](u64(ref(list_)))
    pieces.max_extents = 1
    pieces.nr_extents = UNTOUCHED
    tell(b"XENMEM_machphys_mfn_list", memory(abi.XENMEM_machphys_mfn_list, here))
    fact(b"XENMEM_machphys_mfn_list extents", u64(pieces.nr_extents))
    truth(b"XENMEM_machphys_mfn_list a frame", list_[0] != 0)
    pieces.max_extents = 0
    tell(b"XENMEM_machphys_mfn_list none", memory(abi.XENMEM_machphys_mfn_list, here))
    pieces.max_extents = 1
    pieces.extent_start = Guest[u64](WILD_ADDRESS)
    tell(b"XENMEM_machphys_mfn_list unmapped", memory(abi.XENMEM_machphys_mfn_list, here))
    pieces.extent_start = Guest[u64](u64(ref(list_)))
    tell(b"XENMEM_machphys_compat_mfn_list", memory(abi.XENMEM_machphys_compat_mfn_list, here))
    fact(b"XENMEM_machphys_compat_mfn_list extents", u64(pieces.nr_extents))


def claim(target: u16, frames: u64, order: u32) -> i64:
    reservation.extent_start = Guest[u64](0)
    reservation.nr_extents = frames
    reservation.extent_order = order
    reservation.mem_flags = 0
    reservation.domid = target
    return memory(abi.XENMEM_claim_pages, u64(ref(reservation)))


def ask_claims() -> None:
    tell(b"XENMEM_claim_pages missing domain", claim(NO_DOMAIN, 1, 0))
    tell(b"XENMEM_claim_pages order", claim(0, 1, 1))
    tell(b"XENMEM_claim_pages absurd", claim(0, 1 << 40, 0))
    tell(b"XENMEM_claim_pages none", claim(0, 0, 0))
    tell(b"XENMEM_claim_pages less than there is", claim(0, 1, 0))


def sysctl(command: u32) -> i64:
    request.cmd = command
    request.interface_version = abi.XEN_SYSCTL_INTERFACE_VERSION
    return hypercall(abi.__HYPERVISOR_sysctl, u64(ref(request)), 0, 0, 0, 0)


def ask_sysctls() -> None:
    number = u64(abi.__HYPERVISOR_sysctl)
    tell(b"sysctl unmapped", hypercall(number, WILD_ADDRESS, 0, 0, 0, 0))
    request.interface_version = 7
    tell(b"sysctl wrong version", hypercall(number, u64(ref(request)), 0, 0, 0, 0))
    tell(b"sysctl no such command", sysctl(NO_SYSCTL))
    tell(b"XEN_SYSCTL_physinfo", sysctl(abi.XEN_SYSCTL_physinfo))
    info = ref(request.u.physinfo)
    fact(b"XEN_SYSCTL_physinfo cpus", u64(info.nr_cpus))
    fact(b"XEN_SYSCTL_physinfo greatest cpu", u64(info.max_cpu_id))
    fact(b"XEN_SYSCTL_physinfo nodes", u64(info.nr_nodes))
    fact(b"XEN_SYSCTL_physinfo greatest node", u64(info.max_node_id))
    fact(b"XEN_SYSCTL_physinfo threads", u64(info.threads_per_core))
    fact(b"XEN_SYSCTL_physinfo cores", u64(info.cores_per_socket))
    fact(b"XEN_SYSCTL_physinfo pv", u64(info.capabilities & abi.XEN_SYSCTL_PHYSCAP_pv))
    fact(
        b"XEN_SYSCTL_physinfo grants of version 1",
        u64(info.capabilities & abi.XEN_SYSCTL_PHYSCAP_gnttab_v1),
    )
    truth(b"XEN_SYSCTL_physinfo memory", info.total_pages > info.free_pages)
    fact(b"XEN_SYSCTL_physinfo claimed", info.outstanding_pages)
    tell(b"XEN_SYSCTL_sched_id", sysctl(abi.XEN_SYSCTL_sched_id))
    fact(b"XEN_SYSCTL_sched_id scheduler", u64(request.u.sched_id.sched_id))
    ask_domain_list()
    ask_console_ring()
    ask_topology()
    ask_nodes()
    request.u.debug_keys.keys = Guest[u8](WILD_ADDRESS)
    request.u.debug_keys.nr_keys = 1
    tell(b"XEN_SYSCTL_debug_keys unmapped", sysctl(abi.XEN_SYSCTL_debug_keys))
    request.u.debug_keys.nr_keys = 0
    tell(b"XEN_SYSCTL_debug_keys none", sysctl(abi.XEN_SYSCTL_debug_keys))
    request.u.tbuf_op.cmd = NO_SYSCTL
    tell(b"XEN_SYSCTL_tbuf_op no such command", sysctl(abi.XEN_SYSCTL_tbuf_op))
    request.u.tbuf_op.cmd = abi.XEN_SYSCTL_TBUFOP_get_info
    tell(b"XEN_SYSCTL_tbuf_op get_info", sysctl(abi.XEN_SYSCTL_tbuf_op))
    fact(b"XEN_SYSCTL_tbuf_op size", u64(request.u.tbuf_op.size))
    request.u.tbuf_op.cmd = abi.XEN_SYSCTL_TBUFOP_disable
    tell(b"XEN_SYSCTL_tbuf_op disable", sysctl(abi.XEN_SYSCTL_tbuf_op))


def ask_topology() -> None:
    topology = ref(request.u.cputopoinfo)
    topology.cputopo = Guest[abi.xen_sysctl_cputopo](0)
    topology.num_cpus = 0
    tell(b"XEN_SYSCTL_cputopoinfo count", sysctl(abi.XEN_SYSCTL_cputopoinfo))
    fact(b"XEN_SYSCTL_cputopoinfo cpus", u64(topology.num_cpus))
    topology.cputopo = Guest[abi.xen_sysctl_cputopo](u64(ref(cpus)))
    topology.num_cpus = len(cpus)
    tell(b"XEN_SYSCTL_cputopoinfo", sysctl(abi.XEN_SYSCTL_cputopoinfo))
    fact(b"XEN_SYSCTL_cputopoinfo told", u64(topology.num_cpus))
    fact(b"XEN_SYSCTL_cputopoinfo node", u64(cpus[1].node))
    fact(b"XEN_SYSCTL_cputopoinfo core", u64(cpus[1].core))
    fact(b"XEN_SYSCTL_cputopoinfo socket", u64(cpus[1].socket))
    topology.num_cpus = 1
    tell(b"XEN_SYSCTL_cputopoinfo of one", sysctl(abi.XEN_SYSCTL_cputopoinfo))
    fact(b"XEN_SYSCTL_cputopoinfo of one, told", u64(topology.num_cpus))
    topology.cputopo = Guest[abi.xen_sysctl_cputopo](WILD_ADDRESS)
    topology.num_cpus = 2
    tell(b"XEN_SYSCTL_cputopoinfo unmapped", sysctl(abi.XEN_SYSCTL_cputopoinfo))


def ask_nodes() -> None:
    ask_nodes_for(b"XEN_SYSCTL_numainfo of none, no buffer", 0, 0, 0)
    ask_nodes_for(b"XEN_SYSCTL_numainfo no buffer", 8, 0, 0)
    ask_nodes_for(b"XEN_SYSCTL_numainfo of none", 0, u64(ref(nodes)), u64(ref(distances)))
    ask_nodes_for(b"XEN_SYSCTL_numainfo memory", 8, u64(ref(nodes)), 0)
    truth(b"XEN_SYSCTL_numainfo some is free", 0 < nodes[0].memfree < nodes[0].memsize)
    fact(b"XEN_SYSCTL_numainfo size", nodes[0].memsize)
    ask_nodes_for(b"XEN_SYSCTL_numainfo distances", 8, 0, u64(ref(distances)))
    fact(b"XEN_SYSCTL_numainfo distance", u64(distances[0]))
    ask_nodes_for(b"XEN_SYSCTL_numainfo memory unmapped", 8, WILD_ADDRESS, 0)
    ask_nodes_for(b"XEN_SYSCTL_numainfo distances unmapped", 8, 0, WILD_ADDRESS)


def ask_nodes_for(name: Slice[u8], count: u32, memory: u64, distance: u64) -> None:
    wanted = ref(request.u.numainfo)
    wanted.num_nodes = count
    wanted.meminfo = Guest[abi.xen_sysctl_meminfo](memory)
    wanted.distance = Guest[u32](distance)
    tell(name, sysctl(abi.XEN_SYSCTL_numainfo))
    tell_each(name, u64(count), i64(wanted.num_nodes))


def ask_domain_list() -> None:
    wanted = ref(request.u.getdomaininfolist)
    wanted.first_domain = 0
    wanted.max_domains = 4
    wanted.buffer = Guest[abi.xen_domctl_getdomaininfo](u64(ref(infos)))
    tell(b"XEN_SYSCTL_getdomaininfolist", sysctl(abi.XEN_SYSCTL_getdomaininfolist))
    fact(b"XEN_SYSCTL_getdomaininfolist domains", u64(wanted.num_domains))
    fact(b"XEN_SYSCTL_getdomaininfolist first", u64(infos[0].domain))
    wanted.first_domain = 5000
    tell(b"XEN_SYSCTL_getdomaininfolist behind all", sysctl(abi.XEN_SYSCTL_getdomaininfolist))
    fact(b"XEN_SYSCTL_getdomaininfolist behind all, domains", u64(wanted.num_domains))
    wanted.first_domain = 0
    wanted.max_domains = 0
    tell(b"XEN_SYSCTL_getdomaininfolist no room", sysctl(abi.XEN_SYSCTL_getdomaininfolist))
    fact(b"XEN_SYSCTL_getdomaininfolist no room, domains", u64(wanted.num_domains))
    wanted.max_domains = 1
    wanted.buffer = Guest[abi.xen_domctl_getdomaininfo](WILD_ADDRESS)
    tell(b"XEN_SYSCTL_getdomaininfolist unmapped", sysctl(abi.XEN_SYSCTL_getdomaininfolist))


def ask_console_ring() -> None:
    ring = ref(request.u.readconsole)
    ring.clear = 0
    ring.incremental = 0
    ring.index = 0
    ring.count = 64
    ring.buffer = Guest[u8](u64(ref(text)))
    tell(b"XEN_SYSCTL_readconsole", sysctl(abi.XEN_SYSCTL_readconsole))
    fact(b"XEN_SYSCTL_readconsole bytes", u64(ring.count))
    ring.count = 0
    tell(b"XEN_SYSCTL_readconsole no room", sysctl(abi.XEN_SYSCTL_readconsole))
    ring.count = 64
    ring.buffer = Guest[u8](WILD_ADDRESS)
    tell(b"XEN_SYSCTL_readconsole unmapped", sysctl(abi.XEN_SYSCTL_readconsole))
