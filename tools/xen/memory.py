"""Memory and event-channel calls that building a domain needs.

Source: Xen public ABI 4.17, memory.h, xen.h (mmuext_op), event_channel.h.
"""

import ctypes
from array import array

import xen_codecs as abi

E820_RAM = 1
# A batch must leave room in the arena, and keeps one hypercall short.
EXTENTS_AT_ONCE = 32768


def populate_physmap(xc, domid, first_pfns, order):
    """Give a domain memory.

    Args:    first_pfns: array('Q'), the first page frame number of each extent of 2**order pages.
    Returns: array('Q') of each extent's first machine frame; shorter than asked when memory ran
             out.
    """
    mfns = array("Q")
    for start in range(0, len(first_pfns), EXTENTS_AT_ONCE):
        batch = first_pfns[start : start + EXTENTS_AT_ONCE]
        got = _populate_physmap(xc, domid, batch, order)
        mfns += got
        if len(got) < len(batch):
            break
    return mfns


def _populate_physmap(xc, domid, first_pfns, order):
    with xc.scratch() as scratch:
        address, extents = scratch.u64s(first_pfns)
        request = scratch.new(abi.xen_memory_reservation)
        request.extent_start = address
        request.nr_extents = len(first_pfns)
        request.extent_order = order
        request.domid = domid
        done = _memory_op(xc, abi.XENMEM_populate_physmap, request, "XENMEM_populate_physmap")
        return array("Q", extents[:done])


def set_memory_map(xc, domid, size_bytes):
    """Tell the domain that its RAM is one region from 0 to `size_bytes`."""
    with xc.scratch() as scratch:
        address, entry = scratch.bytes(20)
        entry[:] = array("Q", [0, size_bytes]).tobytes() + array("I", [E820_RAM]).tobytes()
        request = scratch.new(abi.xen_foreign_memory_map)
        request.domid = domid
        request.map.nr_entries = 1
        request.map.buffer = address
        _memory_op(xc, abi.XENMEM_set_memory_map, request, "XENMEM_set_memory_map")


def _memory_op(xc, cmd, request, name):
    return xc.hypercall(abi.__HYPERVISOR_memory_op, cmd, ctypes.addressof(request), name=name)


def pin_l4_table(xc, domid, mfn):
    """Have the hypervisor validate a top-level page table and keep it validated."""
    with xc.scratch() as scratch:
        op = scratch.new(abi.mmuext_op)
        op.cmd = abi.MMUEXT_PIN_L4_TABLE
        op.arg1.mfn = mfn
        name = "MMUEXT_PIN_L4_TABLE"
        xc.hypercall(abi.__HYPERVISOR_mmuext_op, ctypes.addressof(op), 1, 0, domid, name=name)


def alloc_unbound(xc, domid, remote_domid):
    """Make an event channel of `domid` that `remote_domid` may bind; returns its port."""
    with xc.scratch() as scratch:
        op = scratch.new(abi.evtchn_alloc_unbound)
        op.dom = domid
        op.remote_dom = remote_domid
        name = "EVTCHNOP_alloc_unbound"
        cmd = abi.EVTCHNOP_alloc_unbound
        xc.hypercall(abi.__HYPERVISOR_event_channel_op, cmd, ctypes.addressof(op), name=name)
        return op.port
