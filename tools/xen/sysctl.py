"""System control: the machine, its domains, and the hypervisor's console.

Source: Xen public ABI 4.17, sysctl.h, interface version 0x15; version.h.
"""

import ctypes
from contextlib import contextmanager

import xen_codecs as abi

# Inside a class Python would take the leading underscores for a private name of its own.
HYPERVISOR_sysctl = abi.__HYPERVISOR_sysctl

DOMAINS_AT_ONCE = 64
CONSOLE_BYTES = 64 * 1024


class _Call:
    """A sysctl under construction: fill `u`, then `issue()`."""

    def __init__(self, xc, scratch, cmd, name):
        self.xc, self.scratch, self.name = xc, scratch, name
        self.op = scratch.new(abi.xen_sysctl)
        self.op.cmd = cmd
        self.op.interface_version = abi.XEN_SYSCTL_INTERFACE_VERSION
        self.u = self.op.u

    def issue(self):
        self.xc.hypercall(HYPERVISOR_sysctl, ctypes.addressof(self.op), name=self.name)


@contextmanager
def _sysctl(xc, cmd, name):
    with xc.scratch() as scratch:
        yield _Call(xc, scratch, cmd, name)


def physinfo(xc):
    """Return a copy of xen_sysctl_physinfo: processors and memory of the machine."""
    with _sysctl(xc, abi.XEN_SYSCTL_physinfo, "XEN_SYSCTL_physinfo") as call:
        call.issue()
        return abi.xen_sysctl_physinfo.from_buffer_copy(call.u.physinfo)


def cputopoinfo(xc):
    """Return a list of xen_sysctl_cputopo: the core, socket and node of each processor."""
    name = "XEN_SYSCTL_cputopoinfo"
    count = physinfo(xc).max_cpu_id + 1
    with _sysctl(xc, abi.XEN_SYSCTL_cputopoinfo, name) as call:
        found = call.scratch.new(abi.xen_sysctl_cputopo * count)
        request = call.u.cputopoinfo
        request.num_cpus = count
        request.cputopo = ctypes.addressof(found)
        call.issue()
        count = min(count, request.num_cpus)
        return [abi.xen_sysctl_cputopo.from_buffer_copy(found[i]) for i in range(count)]


def numainfo(xc):
    """Return `(xen_sysctl_meminfo, distances)` of each node: its memory in bytes, and how far it is
    from each, in tenths of the way within one.
    """
    name = "XEN_SYSCTL_numainfo"
    count = physinfo(xc).max_node_id + 1
    with _sysctl(xc, abi.XEN_SYSCTL_numainfo, name) as call:
        memory = call.scratch.new(abi.xen_sysctl_meminfo * count)
        distances = call.scratch.new(ctypes.c_uint32 * (count * count))
        request = call.u.numainfo
        request.num_nodes = count
        request.meminfo = ctypes.addressof(memory)
        request.distance = ctypes.addressof(distances)
        call.issue()
        return [
            (
                abi.xen_sysctl_meminfo.from_buffer_copy(memory[i]),
                list(distances[i * count : (i + 1) * count]),
            )
            for i in range(count)
        ]


def getdomaininfolist(xc):
    """Return a xen_domctl_getdomaininfo for every domain, in order of their ids."""
    found, first = [], 0
    while True:
        batch = _getdomaininfolist(xc, first)
        found += batch
        if len(batch) < DOMAINS_AT_ONCE:
            return found
        first = batch[-1].domain + 1


def _getdomaininfolist(xc, first):
    name = "XEN_SYSCTL_getdomaininfolist"
    with _sysctl(xc, abi.XEN_SYSCTL_getdomaininfolist, name) as call:
        infos = call.scratch.new(abi.xen_domctl_getdomaininfo * DOMAINS_AT_ONCE)
        request = call.u.getdomaininfolist
        request.first_domain = first
        request.max_domains = DOMAINS_AT_ONCE
        request.buffer = ctypes.addressof(infos)
        call.issue()
        count = request.num_domains
        return [abi.xen_domctl_getdomaininfo.from_buffer_copy(infos[i]) for i in range(count)]


def readconsole(xc, since=None, clear=False):
    """Return `(text, position)`: what the hypervisor's console ring holds, and where that ends.

    Args: since: a position that an earlier call returned, to read on from; clear: forget it all.
    """
    with _sysctl(xc, abi.XEN_SYSCTL_readconsole, "XEN_SYSCTL_readconsole") as call:
        address, view = call.scratch.bytes(CONSOLE_BYTES)
        request = call.u.readconsole
        request.buffer = address
        request.count = CONSOLE_BYTES
        request.incremental, request.index = since is not None, since or 0
        request.clear = clear
        call.issue()
        return bytes(view[: request.count]).decode(errors="replace"), request.index


def debug_keys(xc, keys):
    """Press debug keys; the answers go to the hypervisor's console."""
    data = keys.encode()
    with _sysctl(xc, abi.XEN_SYSCTL_debug_keys, "XEN_SYSCTL_debug_keys") as call:
        address, view = call.scratch.bytes(len(data))
        view[:] = data
        call.u.debug_keys.keys = address
        call.u.debug_keys.nr_keys = len(data)
        call.issue()


def console_write(xc, text):
    """Print on the hypervisor's console, which is the ring and the serial line."""
    data = text.encode()
    with xc.scratch() as scratch:
        address, view = scratch.bytes(len(data))
        view[:] = data
        arguments = (abi.CONSOLEIO_write, len(data), address)
        xc.hypercall(abi.__HYPERVISOR_console_io, *arguments, name="CONSOLEIO_write")


def tbuf_op(xc, cmd, size=0, evt_mask=0):
    """Control the trace buffers; returns a copy of xen_sysctl_tbuf_op."""
    with _sysctl(xc, abi.XEN_SYSCTL_tbuf_op, "XEN_SYSCTL_tbuf_op") as call:
        request = call.u.tbuf_op
        request.cmd, request.size, request.evt_mask = cmd, size, evt_mask
        call.issue()
        return abi.xen_sysctl_tbuf_op.from_buffer_copy(request)


def xen_version(xc):
    """Return `(major, minor, extra)`, such as (4, 17, ".5")."""
    version = xc.hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_version, 0)
    with xc.scratch() as scratch:
        address, view = scratch.bytes(16)
        xc.hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_extraversion, address)
        return version >> 16, version & 0xFFFF, _text(view)


def capabilities(xc):
    """Return the list of guest kinds that the hypervisor runs, such as xen-3.0-x86_64."""
    with xc.scratch() as scratch:
        address, view = scratch.bytes(1024)
        xc.hypercall(abi.__HYPERVISOR_xen_version, abi.XENVER_capabilities, address)
        return _text(view).split()


def _text(view):
    return bytes(view).split(b"\0", 1)[0].decode(errors="replace")
