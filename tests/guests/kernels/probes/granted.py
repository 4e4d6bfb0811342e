"""Grants from the second domain to the first: mapped, written, copied, replaced, and refused."""

import abi
from kpy import Array, Guest, Ptr, Slice, i64, load, ref, static, store, u8, u16, u32, u64

from libos.hypercall import grant_table_op, hypercall, update_va_mapping
from libos.memory import PTE_KERNEL, entry_address, machine_address
from libos.pages import alloc_pages
from tests.guests.kernels.probes import second
from tests.guests.kernels.probes.ground import NO_DOMAIN, WILD_ADDRESS
from tests.guests.kernels.probes.transcript import fact, tell, tell_each, tell_status, truth

REFERENCE, READ_ONLY_REFERENCE, OTHER_REFERENCE = 8, 9, 10
TRANSFER_REFERENCE, TRANSITIVE_REFERENCE, STRANGE_REFERENCE = 11, 12, 13
PATTERN = 0x1122_3344_5566_7788
PTE_BITS = 0xFFF

table = static(u64)  # where we see the second domain's grant table
place = static(u64)  # a page of ours for mappings
mapping = static(abi.gnttab_map_grant_ref)
unmapping = static(abi.gnttab_unmap_grant_ref)
replacing = static(abi.gnttab_unmap_and_replace)
copying = static(abi.gnttab_copy)
resource = static(abi.xen_mem_acquire_resource)
frame_list = static(Array[u64, 8])


def ask_grants() -> None:
    """All of it; the second domain's table is seen through XENMEM_acquire_resource."""
    global table, place
    table = alloc_pages(1)
    place = alloc_pages(1)
    update_va_mapping(place, 0, abi.UVMF_INVLPG)
    ask_resource()
    if second.map_foreign(table, frame_list[0], PTE_KERNEL) != 0:
        return
    frame = second.frames[second.DATA]
    grant(REFERENCE, 0, abi.GTF_permit_access, frame)
    grant(READ_ONLY_REFERENCE, 0, abi.GTF_permit_access | abi.GTF_readonly, frame)
    grant(OTHER_REFERENCE, 77, abi.GTF_permit_access, frame)
    grant(TRANSFER_REFERENCE, 0, abi.GTF_accept_transfer, frame)
    grant(TRANSITIVE_REFERENCE, 0, abi.GTF_transitive, frame)
    grant(STRANGE_REFERENCE, 0, abi.GTF_permit_access, machine_address(place) >> 12)
    store(Ptr[u64](second.page(second.DATA)), PATTERN)
    ask_refused_maps()
    ask_map()
    ask_read_only_map()
    ask_pte_map()
    ask_replace()
    update_va_mapping(place, machine_address(place) | PTE_KERNEL, abi.UVMF_INVLPG)
    ask_copies()
    ask_tables()
    second.map_foreign(table, frame_list[0], 0)
    update_va_mapping(table, machine_address(table) | PTE_KERNEL, abi.UVMF_INVLPG)


def grant(reference: u64, to: u16, flags: u16, frame: u64) -> None:
    """Write an entry of the second domain's table in its name."""
    entry = Ptr[abi.grant_entry_v1](table + 8 * reference)
    entry.domid = to
    entry.frame = u32(frame)
    entry.flags = flags


def flags_of(reference: u64) -> u64:
    return u64(Ptr[abi.grant_entry_v1](table + 8 * reference).flags)


def acquire() -> i64:
    number = u64(abi.__HYPERVISOR_memory_op)
    return hypercall(number, abi.XENMEM_acquire_resource, u64(ref(resource)), 0, 0, 0)


def ask_resource() -> None:
    resource.domid = second.domid
    resource.type = abi.XENMEM_resource_grant_table
    resource.id = abi.XENMEM_resource_grant_table_id_shared
    resource.nr_frames = 0
    tell(b"XENMEM_acquire_resource size", acquire())
    fact(b"XENMEM_acquire_resource frames", u64(resource.nr_frames))
    resource.nr_frames = 1
    tell(b"XENMEM_acquire_resource null list, one frame", acquire())
    resource.frame_list = Guest[u64](u64(ref(frame_list)))
    resource.frame = 4
    tell(b"XENMEM_acquire_resource past the end", acquire())
    resource.frame = 0
    resource.nr_frames = 0
    tell(b"XENMEM_acquire_resource no frames", acquire())
    resource.nr_frames = 1
    resource.pad = 1
    tell(b"XENMEM_acquire_resource pad", acquire())
    resource.pad = 0
    resource.type = 9
    tell(b"XENMEM_acquire_resource unknown type", acquire())
    resource.type = abi.XENMEM_resource_grant_table
    resource.id = 9
    tell(b"XENMEM_acquire_resource unknown id", acquire())
    resource.id = abi.XENMEM_resource_grant_table_id_status
    tell(b"XENMEM_acquire_resource status frames", acquire())
    resource.id = abi.XENMEM_resource_grant_table_id_shared
    resource.domid = abi.DOMID_SELF
    tell(b"XENMEM_acquire_resource own", acquire())
    resource.domid = NO_DOMAIN
    tell(b"XENMEM_acquire_resource missing domain", acquire())
    resource.domid = second.domid
    resource.frame_list = Guest[u64](WILD_ADDRESS)
    tell(b"XENMEM_acquire_resource unmapped list", acquire())
    resource.frame_list = Guest[u64](u64(ref(frame_list)))
    resource.nr_frames = 2
    tell(b"XENMEM_acquire_resource two frames", acquire())
    truth(b"XENMEM_acquire_resource tells frames", frame_list[0] != 0 and frame_list[1] != 0)


def tell_map(name: Slice[u8], reference: u32, flags: u32, address: u64) -> None:
    result = map_it(reference, flags, address)
    tell_status(name, result, mapping.status)


def map_it(reference: u32, flags: u32, address: u64) -> i64:
    mapping.host_addr = address
    mapping.flags = flags
    mapping.ref = reference
    mapping.dom = second.domid
    mapping.status = 99
    return grant_table_op(abi.GNTTABOP_map_grant_ref, ref(mapping))


def tell_unmap(name: Slice[u8], handle: u32, address: u64, device: u64) -> None:
    result = unmap_it(handle, address, device)
    tell_status(name, result, unmapping.status)


def unmap_it(handle: u32, address: u64, device: u64) -> i64:
    unmapping.handle = handle
    unmapping.host_addr = address
    unmapping.dev_bus_addr = device
    unmapping.status = 99
    return grant_table_op(abi.GNTTABOP_unmap_grant_ref, ref(unmapping))


def ask_refused_maps() -> None:
    host = u32(abi.GNTMAP_host_map)
    tell_map(b"GNTTABOP_map_grant_ref granted to another", OTHER_REFERENCE, host, place)
    tell_map(b"GNTTABOP_map_grant_ref for a transfer", TRANSFER_REFERENCE, host, place)
    tell_map(b"GNTTABOP_map_grant_ref transitive", TRANSITIVE_REFERENCE, host, place)
    tell_map(b"GNTTABOP_map_grant_ref not its frame", STRANGE_REFERENCE, host, place)
    tell_map(b"GNTTABOP_map_grant_ref read-only for writing", READ_ONLY_REFERENCE, host, place)
    tell_map(b"GNTTABOP_map_grant_ref behind the table", 4096, host, place)
    tell_map(b"GNTTABOP_map_grant_ref where no table is", REFERENCE, host, WILD_ADDRESS)
    fact(b"GNTTABOP_map_grant_ref refused, entry", flags_of(REFERENCE))


def entry_bits(address: u64) -> u64:
    """The low bits of the entry that maps an address."""
    return load(Ptr[u64](entry_address(address, 1))) & PTE_BITS


def ask_map() -> None:
    tell_map(b"GNTTABOP_map_grant_ref", REFERENCE, abi.GNTMAP_host_map, place)
    first = mapping.handle
    truth(
        b"GNTTABOP_map_grant_ref bus address",
        mapping.dev_bus_addr == second.frames[second.DATA] << 12,
    )
    truth(b"GNTTABOP_map_grant_ref shows the page", load(Ptr[u64](place)) == PATTERN)
    fact(b"GNTTABOP_map_grant_ref entry bits", entry_bits(place))
    fact(b"GNTTABOP_map_grant_ref grant's flags", flags_of(REFERENCE))
    store(Ptr[u64](place), PATTERN + 1)
    truth(
        b"GNTTABOP_map_grant_ref can be written",
        load(Ptr[u64](second.page(second.DATA))) == PATTERN + 1,
    )
    tell_map(b"GNTTABOP_map_grant_ref again", REFERENCE, abi.GNTMAP_host_map, alloc_pages(1))
    unmap_it(mapping.handle, mapping.host_addr, 0)
    tell_unmap(b"GNTTABOP_unmap_grant_ref at another address", first, second.window, 0)
    tell_unmap(b"GNTTABOP_unmap_grant_ref nothing of it", first, 0, 0)
    tell_unmap(b"GNTTABOP_unmap_grant_ref", first, place, 0)
    fact(b"GNTTABOP_unmap_grant_ref entry", load(Ptr[u64](entry_address(place, 1))))
    fact(b"GNTTABOP_unmap_grant_ref grant's flags", flags_of(REFERENCE))
    tell_unmap(b"GNTTABOP_unmap_grant_ref again", first, place, 0)
    tell_map(b"GNTTABOP_map_grant_ref device", REFERENCE, abi.GNTMAP_device_map, 0)
    tell_unmap(b"GNTTABOP_unmap_grant_ref wrong bus address", mapping.handle, 0, 0x1000)
    tell_unmap(b"GNTTABOP_unmap_grant_ref device", mapping.handle, 0, mapping.dev_bus_addr)
    both = u32(abi.GNTMAP_device_map | abi.GNTMAP_host_map)
    tell_map(b"GNTTABOP_map_grant_ref both", REFERENCE, both, place)
    tell_unmap(b"GNTTABOP_unmap_grant_ref host part", mapping.handle, place, 0)
    fact(b"GNTTABOP_unmap_grant_ref host part, grant's flags", flags_of(REFERENCE))
    tell_unmap(b"GNTTABOP_unmap_grant_ref rest", mapping.handle, 0, mapping.dev_bus_addr)
    for bits in range(4):
        flags = abi.GNTMAP_host_map | u32(bits) << abi._GNTMAP_guest_avail0
        tell_each(
            b"GNTTABOP_map_grant_ref available bits", u64(bits), map_it(REFERENCE, flags, place)
        )
        tell_each(
            b"GNTTABOP_map_grant_ref entry with available bits", u64(bits), i64(entry_bits(place))
        )
        unmap_it(mapping.handle, place, 0)
    application = u32(abi.GNTMAP_host_map | abi.GNTMAP_application_map)
    tell_map(b"GNTTABOP_map_grant_ref application", REFERENCE, application, place)
    fact(b"GNTTABOP_map_grant_ref application, entry bits", entry_bits(place))
    unmap_it(mapping.handle, place, 0)


def ask_read_only_map() -> None:
    flags = u32(abi.GNTMAP_host_map | abi.GNTMAP_readonly)
    tell_map(b"GNTTABOP_map_grant_ref read-only", READ_ONLY_REFERENCE, flags, place)
    fact(b"GNTTABOP_map_grant_ref read-only, entry bits", entry_bits(place))
    fact(b"GNTTABOP_map_grant_ref read-only, grant's flags", flags_of(READ_ONLY_REFERENCE))
    tell_unmap(b"GNTTABOP_unmap_grant_ref read-only", mapping.handle, place, 0)


def ask_pte_map() -> None:
    entry = machine_address(entry_address(place, 1))
    flags = u32(abi.GNTMAP_host_map | abi.GNTMAP_contains_pte)
    tell_map(b"GNTTABOP_map_grant_ref by entry", REFERENCE, flags, entry)
    fact(b"GNTTABOP_map_grant_ref by entry, bits", entry_bits(place))
    tell_unmap(b"GNTTABOP_unmap_grant_ref by entry", mapping.handle, entry, 0)
    tell_map(
        b"GNTTABOP_map_grant_ref by a word of data",
        REFERENCE,
        flags,
        machine_address(second.window),
    )
    tell_map(b"GNTTABOP_map_grant_ref by an odd address", REFERENCE, flags, entry + 4)


def ask_replace() -> None:
    other = alloc_pages(1)
    store(Ptr[u64](other), PATTERN + 7)
    tell_map(b"GNTTABOP_map_grant_ref to be replaced", REFERENCE, abi.GNTMAP_host_map, place)
    replacing.host_addr = place
    replacing.new_addr = WILD_ADDRESS
    replacing.handle = mapping.handle
    tell_replace(b"GNTTABOP_unmap_and_replace by nothing")
    replacing.new_addr = other
    tell_replace(b"GNTTABOP_unmap_and_replace")
    truth(b"GNTTABOP_unmap_and_replace moves the page", load(Ptr[u64](place)) == PATTERN + 7)
    fact(b"GNTTABOP_unmap_and_replace empties the entry", load(Ptr[u64](entry_address(other, 1))))
    tell_replace(b"GNTTABOP_unmap_and_replace again")
    update_va_mapping(other, machine_address(other) | PTE_KERNEL, abi.UVMF_INVLPG)
    update_va_mapping(place, machine_address(place) | PTE_KERNEL, abi.UVMF_INVLPG)


def tell_replace(name: Slice[u8]) -> None:
    replacing.status = 99
    result = grant_table_op(abi.GNTTABOP_unmap_and_replace, ref(replacing))
    tell_status(name, result, replacing.status)


def copy_it(name: Slice[u8], flags: u16, source: u64, dest: u64, offset: u16, length: u16) -> None:
    """Copy; grants are the second domain's, frames our own."""
    copying.flags = flags
    copying.source.domid = second.domid if flags & abi.GNTCOPY_source_gref else abi.DOMID_SELF
    copying.dest.domid = second.domid if flags & abi.GNTCOPY_dest_gref else abi.DOMID_SELF
    copying.source.u.gmfn = source
    copying.dest.u.gmfn = dest
    copying.source.offset = offset
    copying.dest.offset = offset
    copying.len = length
    copying.status = 99
    result = grant_table_op(abi.GNTTABOP_copy, ref(copying))
    tell_status(name, result, copying.status)


def ask_copies() -> None:
    own = machine_address(place) >> 12
    source, dest = u16(abi.GNTCOPY_source_gref), u16(abi.GNTCOPY_dest_gref)
    copy_it(b"GNTTABOP_copy from a grant", source, REFERENCE, own, 0, 8)
    truth(b"GNTTABOP_copy brings the word", load(Ptr[u64](place)) == PATTERN + 1)
    store(Ptr[u64](place), PATTERN + 2)
    copy_it(b"GNTTABOP_copy to a grant", dest, own, REFERENCE, 0, 8)
    truth(b"GNTTABOP_copy takes the word", load(Ptr[u64](second.page(second.DATA))) == PATTERN + 2)
    copy_it(b"GNTTABOP_copy to a read-only grant", dest, own, READ_ONLY_REFERENCE, 0, 8)
    copy_it(b"GNTTABOP_copy from a read-only grant", source, READ_ONLY_REFERENCE, own, 0, 8)
    copy_it(b"GNTTABOP_copy across the end", source, REFERENCE, own, 4092, 8)
    copy_it(b"GNTTABOP_copy nothing", source, REFERENCE, own, 0, 0)
    copy_it(b"GNTTABOP_copy from a missing grant", source, 5000, own, 0, 8)
    copy_it(b"GNTTABOP_copy granted to another", source, OTHER_REFERENCE, own, 0, 8)
    copy_it(b"GNTTABOP_copy from a transfer", source, TRANSFER_REFERENCE, own, 0, 8)
    copy_it(b"GNTTABOP_copy from a transitive grant", source, TRANSITIVE_REFERENCE, own, 0, 8)
    copy_it(b"GNTTABOP_copy within", 0, own, own, 0, 8)
    copying.source.domid = second.domid
    result = grant_table_op(abi.GNTTABOP_copy, ref(copying))
    tell_status(b"GNTTABOP_copy from another's frame", result, copying.status)
    copying.source.domid = NO_DOMAIN
    copying.flags = source
    result = grant_table_op(abi.GNTTABOP_copy, ref(copying))
    tell_status(b"GNTTABOP_copy from a missing domain", result, copying.status)


def ask_tables() -> None:
    size = abi.gnttab_query_size(dom=second.domid)
    tell(b"GNTTABOP_query_size", grant_table_op(abi.GNTTABOP_query_size, ref(size)))
    fact(b"GNTTABOP_query_size status", u64(size.status))
    fact(b"GNTTABOP_query_size most", u64(size.max_nr_frames))
    fact(b"GNTTABOP_query_size now", u64(size.nr_frames))
    setup = abi.gnttab_setup_table(dom=second.domid, nr_frames=3)
    setup.frame_list = Guest[u64](u64(ref(frame_list)))
    tell(b"GNTTABOP_setup_table", grant_table_op(abi.GNTTABOP_setup_table, ref(setup)))
    tell_status(b"GNTTABOP_setup_table status", 0, setup.status)
    setup.nr_frames = 5
    tell(b"GNTTABOP_setup_table too many", grant_table_op(abi.GNTTABOP_setup_table, ref(setup)))
    tell_status(b"GNTTABOP_setup_table too many, status", 0, setup.status)
    setup.nr_frames = 1
    setup.frame_list = Guest[u64](WILD_ADDRESS)
    tell(
        b"GNTTABOP_setup_table unmapped list", grant_table_op(abi.GNTTABOP_setup_table, ref(setup))
    )
    tell_status(b"GNTTABOP_setup_table unmapped list, status", 0, setup.status)
    setup.dom = NO_DOMAIN
    tell(
        b"GNTTABOP_setup_table missing domain", grant_table_op(abi.GNTTABOP_setup_table, ref(setup))
    )
    tell_status(b"GNTTABOP_setup_table missing domain, status", 0, setup.status)
    version = abi.gnttab_get_version(dom=second.domid)
    tell(b"GNTTABOP_get_version", grant_table_op(abi.GNTTABOP_get_version, ref(version)))
    fact(b"GNTTABOP_get_version version", u64(version.version))
    version.dom = NO_DOMAIN
    tell(
        b"GNTTABOP_get_version missing domain",
        grant_table_op(abi.GNTTABOP_get_version, ref(version)),
    )
    wanted = abi.gnttab_set_version(version=3)
    tell(b"GNTTABOP_set_version 3", grant_table_op(abi.GNTTABOP_set_version, ref(wanted)))
    wanted.version = 1
    tell(b"GNTTABOP_set_version 1", grant_table_op(abi.GNTTABOP_set_version, ref(wanted)))
    frames = abi.gnttab_get_status_frames(dom=abi.DOMID_SELF, nr_frames=1)
    tell(b"GNTTABOP_get_status_frames", grant_table_op(abi.GNTTABOP_get_status_frames, ref(frames)))
    tell_status(b"GNTTABOP_get_status_frames status", 0, frames.status)
    ask_swaps()
    ask_flushes()
    for command in range(14):
        number = u64(abi.__HYPERVISOR_grant_table_op)
        result = hypercall(number, u64(command), WILD_ADDRESS, 1, 0, 0)
        tell_each(b"grant_table_op unmapped, command", u64(command), result)
        result = hypercall(number, u64(command), WILD_ADDRESS, 0, 0, 0)
        tell_each(b"grant_table_op none, command", u64(command), result)


def ask_swaps() -> None:
    swap = abi.gnttab_swap_grant_ref(ref_a=20, ref_b=21)
    tell(b"GNTTABOP_swap_grant_ref", grant_table_op(abi.GNTTABOP_swap_grant_ref, ref(swap)))
    tell_status(b"GNTTABOP_swap_grant_ref status", 0, swap.status)
    swap.ref_b = 1 << 30
    tell(b"GNTTABOP_swap_grant_ref missing", grant_table_op(abi.GNTTABOP_swap_grant_ref, ref(swap)))
    tell_status(b"GNTTABOP_swap_grant_ref missing, status", 0, swap.status)
    swap.ref_b = swap.ref_a
    tell(b"GNTTABOP_swap_grant_ref itself", grant_table_op(abi.GNTTABOP_swap_grant_ref, ref(swap)))
    tell_status(b"GNTTABOP_swap_grant_ref itself, status", 0, swap.status)


def ask_flushes() -> None:
    flush = abi.gnttab_cache_flush(op=abi.GNTTAB_CACHE_CLEAN, length=64)
    flush.a.dev_bus_addr = machine_address(place)
    tell(b"GNTTABOP_cache_flush clean", grant_table_op(abi.GNTTABOP_cache_flush, ref(flush)))
    flush.offset = 4090
    tell(
        b"GNTTABOP_cache_flush across the end", grant_table_op(abi.GNTTABOP_cache_flush, ref(flush))
    )
    flush.offset = 0
    flush.op = 1 << 5
    tell(b"GNTTABOP_cache_flush unknown", grant_table_op(abi.GNTTABOP_cache_flush, ref(flush)))
    flush.op = 0
    tell(
        b"GNTTABOP_cache_flush nothing to do", grant_table_op(abi.GNTTABOP_cache_flush, ref(flush))
    )
    flush.op = abi.GNTTAB_CACHE_CLEAN
    flush.length = 0
    tell(b"GNTTABOP_cache_flush no length", grant_table_op(abi.GNTTABOP_cache_flush, ref(flush)))
