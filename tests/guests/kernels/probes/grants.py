"""Grants that nobody gave. The result is the operation's status where the call itself succeeds."""

import abi
from kpy import i64, ref, static, u16, u32, u64

from libos.hypercall import grant_table_op, hypercall
from libos.memory import entry_address, machine_address
from tests.guests.kernels.probes import ground
from tests.guests.kernels.probes.ground import CORE_ADDRESS, WILD_ADDRESS, frame_of
from tests.guests.kernels.probes.registry import Probes

NO_DOMAIN = 0x1234
NO_GRANT = 9999
NO_HANDLE = 12345
GRANT_BAD_COMMAND = 77

probes = Probes()
mapping = static(abi.gnttab_map_grant_ref)
unmapping = static(abi.gnttab_unmap_grant_ref)
copy = static(abi.gnttab_copy)


def map_grant(domain: u16, reference: u32, flags: u32, address: u64) -> i64:
    mapping.dom = domain
    mapping.ref = reference
    mapping.flags = flags
    mapping.host_addr = address
    result = grant_table_op(abi.GNTTABOP_map_grant_ref, ref(mapping))
    return i64(mapping.status) if result == 0 else result


@probes.probe
def map_missing_grant() -> i64:
    return map_grant(0, NO_GRANT, abi.GNTMAP_host_map, ground.page)


@probes.probe
def map_grant_of_missing_domain() -> i64:
    return map_grant(NO_DOMAIN, 8, abi.GNTMAP_host_map, ground.page)


@probes.probe
def map_own_unused_grant() -> i64:
    return map_grant(abi.DOMID_SELF, 20, abi.GNTMAP_host_map, ground.page)


@probes.probe
def map_grant_nowhere() -> i64:
    return map_grant(0, 8, 0, ground.page)


@probes.probe
def map_grant_in_the_core() -> i64:
    return map_grant(0, 8, abi.GNTMAP_host_map, CORE_ADDRESS)


@probes.probe
def unmap_missing_handle() -> i64:
    unmapping.handle = NO_HANDLE
    unmapping.host_addr = ground.page
    result = grant_table_op(abi.GNTTABOP_unmap_grant_ref, ref(unmapping))
    return i64(unmapping.status) if result == 0 else result


@probes.probe
def table_of_many_frames() -> i64:
    op = abi.gnttab_setup_table(dom=abi.DOMID_SELF, nr_frames=1 << 20)
    result = grant_table_op(abi.GNTTABOP_setup_table, ref(op))
    return i64(op.status) if result == 0 else result


@probes.probe
def table_of_domain_0() -> i64:
    op = abi.gnttab_setup_table(dom=0, nr_frames=1)
    result = grant_table_op(abi.GNTTABOP_setup_table, ref(op))
    return i64(op.status) if result == 0 else result


@probes.probe
def size_of_domain_0() -> i64:
    op = abi.gnttab_query_size(dom=0)
    result = grant_table_op(abi.GNTTABOP_query_size, ref(op))
    return i64(op.status) if result == 0 else result


def copy_frames(source: u64, target: u64, offset: u16, length: u16) -> i64:
    copy.source.u.gmfn = source
    copy.source.domid = abi.DOMID_SELF
    copy.source.offset = offset
    copy.dest.u.gmfn = target
    copy.dest.domid = abi.DOMID_SELF
    copy.len = length
    result = grant_table_op(abi.GNTTABOP_copy, ref(copy))
    return i64(copy.status) if result == 0 else result


@probes.probe
def copy_from_foreign_frame() -> i64:
    return copy_frames(ground.foreign, frame_of(ground.page), 0, 64)


@probes.probe
def copy_to_foreign_frame() -> i64:
    return copy_frames(frame_of(ground.page), ground.foreign, 0, 64)


@probes.probe
def copy_to_page_table() -> i64:
    table = entry_address(ground.page, 1)
    return copy_frames(frame_of(ground.page), machine_address(table) >> 12, 0, 64)


@probes.probe
def copy_over_the_page_end() -> i64:
    return copy_frames(frame_of(ground.page), frame_of(ground.page), 4000, 200)


@probes.probe
def grant_op_at_wild_address() -> i64:
    number = abi.__HYPERVISOR_grant_table_op
    return hypercall(number, abi.GNTTABOP_map_grant_ref, WILD_ADDRESS, 1, 0, 0)


@probes.probe
def grant_ops_without_end() -> i64:
    number = abi.__HYPERVISOR_grant_table_op
    return hypercall(number, abi.GNTTABOP_copy, u64(ref(copy)), 1 << 31, 0, 0)


@probes.probe
def bad_grant_command() -> i64:
    return grant_table_op(GRANT_BAD_COMMAND, ref(copy))
