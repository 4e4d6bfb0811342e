"""grant_table_op with bad arguments; and a page granted to oneself, mapped, copied, unmapped."""

import abi
from kpy import Ptr, i64, load, ref, static, store, u16, u32, u64

from libos.grant import end_access, grant_access
from libos.hypercall import grant_table_op, hypercall, update_va_mapping
from libos.layout import PAGE_SIZE, pfn_of
from libos.memory import entry_address, mfn_of
from libos.pages import alloc_pages, free_pages
from libos.probe import probe_load
from libos.text import parse_number
from libos.xenbus import NO_TRANSACTION, has_xenbus, xenbus_read
from tests.guests.kernels.bad import NO_DOMAIN, NO_FRAME, UNMAPPED
from tests.guests.kernels.report import check, expect

PATTERN = 0xC0FFEE
NO_REFERENCE = 1 << 24


def raw(command: u64, argument: u64, count: u64) -> i64:
    return hypercall(abi.__HYPERVISOR_grant_table_op, command, argument, count, 0, 0)


def map_at(address: u64, domid: u16, reference: u32, flags: u32) -> tuple[i64, u32]:
    """Return the status of a map operation, and the handle."""
    op = abi.gnttab_map_grant_ref(host_addr=address, dom=domid, ref=reference, flags=flags)
    result = grant_table_op(abi.GNTTABOP_map_grant_ref, ref(op))
    return result if result != 0 else i64(op.status), op.handle


def unmap_at(address: u64, handle: u32) -> i64:
    op = abi.gnttab_unmap_grant_ref(host_addr=address, handle=handle)
    result = grant_table_op(abi.GNTTABOP_unmap_grant_ref, ref(op))
    return result if result != 0 else i64(op.status)


def copy_from(domid: u16, reference: u32, to: u64, offset: u16, length: u16) -> i64:
    op = abi.gnttab_copy(len=length, flags=abi.GNTCOPY_source_gref)
    op.source.u.ref = reference
    op.source.domid = domid
    op.source.offset = offset
    op.dest.u.gmfn = u64(mfn_of(pfn_of(to)))
    op.dest.domid = abi.DOMID_SELF
    result = grant_table_op(abi.GNTTABOP_copy, ref(op))
    return result if result != 0 else i64(op.status)


own_domid = static(u16)


def find_own_domid() -> None:
    """A grant says who may use it by number; DOMID_SELF is no such number."""
    global own_domid
    own_domid = 0
    if has_xenbus():
        _, text = xenbus_read(NO_TRANSACTION, b"domid")
        own_domid = u16(parse_number(text, 10))


def test_grants() -> None:
    find_own_domid()
    expect(b"grant: unknown command", raw(99, 0, 1), -abi.ENOSYS)
    expect(b"grant: unmapped argument", raw(abi.GNTTABOP_map_grant_ref, UNMAPPED, 1), -abi.EFAULT)
    setup = abi.gnttab_setup_table(dom=NO_DOMAIN, nr_frames=1)
    grant_table_op(abi.GNTTABOP_setup_table, ref(setup))
    expect(b"grant: setup_table, no such domain", i64(setup.status), abi.GNTST_bad_domain)
    size = abi.gnttab_query_size(dom=abi.DOMID_SELF)
    grant_table_op(abi.GNTTABOP_query_size, ref(size))
    expect(b"grant: query_size", i64(size.status), abi.GNTST_okay)
    page, window = alloc_pages(1), alloc_pages(1)
    store(Ptr[u64](page), PATTERN)
    test_map(page, window)
    test_copy(page)
    free_pages(page, 1)


def test_map(page: u64, window: u64) -> None:
    """Map a page that is granted to ourselves over another one of our pages."""
    reference = grant_access(own_domid, page, False)
    status, _ = map_at(window, NO_DOMAIN, reference, abi.GNTMAP_host_map)
    expect(b"grant: map, no such domain", status, abi.GNTST_bad_domain)
    status, _ = map_at(window, own_domid, NO_REFERENCE, abi.GNTMAP_host_map)
    expect(b"grant: map, no such reference", status, abi.GNTST_bad_gntref)
    status, _ = map_at(window, own_domid, reference, 0)
    expect(b"grant: map, no flags", status, abi.GNTST_bad_gntref)
    status, _ = map_at(window, own_domid, reference + 1, abi.GNTMAP_host_map)
    expect(b"grant: map, not granted", status, abi.GNTST_general_error)
    expect(b"grant: make room", update_va_mapping(window, 0, abi.UVMF_INVLPG), 0)
    status, handle = map_at(window, own_domid, reference, abi.GNTMAP_host_map)
    expect(b"grant: map", status, abi.GNTST_okay)
    check(b"grant: the page is seen", load(Ptr[u64](window)) == PATTERN)
    check(b"grant: end_access while mapped", not end_access(reference))
    expect(b"grant: unmap, bad handle", unmap_at(window, handle + 7), abi.GNTST_bad_handle)
    expect(
        b"grant: unmap, bad address", unmap_at(window + PAGE_SIZE, handle), abi.GNTST_general_error
    )
    expect(b"grant: unmap", unmap_at(window, handle), abi.GNTST_okay)
    value: u64 = 0
    check(b"grant: gone after unmap", not probe_load(window, ref(value)))
    expect(b"grant: unmap again", unmap_at(window, handle), abi.GNTST_bad_handle)
    check(b"grant: end_access", end_access(reference))
    check(b"grant: entries are found", load(Ptr[u64](entry_address(window, 1))) == 0)


def test_copy(page: u64) -> None:
    target = alloc_pages(1)
    reference = grant_access(own_domid, page, True)
    expect(b"grant: copy", copy_from(own_domid, reference, target, 0, 64), abi.GNTST_okay)
    check(b"grant: copied", load(Ptr[u64](target)) == PATTERN)
    status = copy_from(own_domid, reference, target, 4000, 200)
    expect(b"grant: copy across a page", status, abi.GNTST_bad_copy_arg)
    status = copy_from(NO_DOMAIN, reference, target, 0, 64)
    expect(b"grant: copy, no such domain", status, abi.GNTST_bad_domain)
    check(b"grant: end_access after copy", end_access(reference))
    expect(
        b"grant: copy, ended",
        copy_from(own_domid, reference, target, 0, 64),
        abi.GNTST_general_error,
    )
    op = abi.gnttab_copy(len=8)
    op.source.u.gmfn = NO_FRAME
    op.source.domid = abi.DOMID_SELF
    op.dest.u.gmfn = u64(mfn_of(pfn_of(target)))
    op.dest.domid = abi.DOMID_SELF
    grant_table_op(abi.GNTTABOP_copy, ref(op))
    expect(b"grant: copy from no frame", i64(op.status), abi.GNTST_bad_page)
    free_pages(target, 1)
