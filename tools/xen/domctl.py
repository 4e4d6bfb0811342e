"""Domain control: one function per domctl that the toolstack uses, named as the ABI names it.

Each takes the hypercall device first. The hypervisor checks everything; these functions only
marshal.
Source: Xen public ABI 4.17, domctl.h, interface version 0x15. That of 4.20 is 0x17; what is used
here is the same in it.
"""

import ctypes
import errno
from contextlib import contextmanager

import xen_codecs as abi

from xen.privcmd import HypercallError

# Inside a class Python would take the leading underscores for a private name of its own.
HYPERVISOR_domctl = abi.__HYPERVISOR_domctl

_versions = [abi.XEN_DOMCTL_INTERFACE_VERSION, 0x17]  # the one that is spoken here comes first

_NAMES = {
    value: name
    for name, value in vars(abi).items()
    if name[:11] == "XEN_DOMCTL_" and name[11].islower() and "vmtrace" not in name
}


class _Call:
    """A domctl under construction: fill `u`, then `issue()`, then read `u` and `domain`."""

    def __init__(self, xc, scratch, cmd, domid):
        self.xc, self.scratch = xc, scratch
        self.op = scratch.new(abi.xen_domctl)
        self.op.cmd = cmd
        self.op.domain = domid
        self.u = self.op.u

    def issue(self):
        """Make the hypercall, in the version that the hypervisor speaks."""
        name = _NAMES.get(self.op.cmd, f"domctl {self.op.cmd}")
        for version in list(_versions):
            self.op.interface_version = version
            try:
                result = self.xc.hypercall(HYPERVISOR_domctl, ctypes.addressof(self.op), name=name)
            except HypercallError as error:
                if error.errno != errno.EACCES or version == _versions[-1]:
                    raise
            else:
                _versions.sort(key=lambda known: known != version)
                return result


@contextmanager
def _domctl(xc, cmd, domid=0):
    with xc.scratch() as scratch:
        yield _Call(xc, scratch, cmd, domid)


def createdomain(xc, handle, max_vcpus):
    """Create a paravirtual domain without memory or vCPUs.

    Args:    handle: 16 bytes, the domain's uuid; max_vcpus: most vCPUs it may ever have.
    Returns: the new domain's id.
    """
    with _domctl(xc, abi.XEN_DOMCTL_createdomain) as call:
        config = call.u.createdomain
        config.handle[:] = handle
        config.max_vcpus = max_vcpus
        config.max_evtchn_port = 1023
        config.max_grant_frames = -1
        config.max_maptrack_frames = -1
        config.grant_opts = 1
        call.issue()
        return call.op.domain


def destroydomain(xc, domid):
    """Kill a domain and start giving its memory back."""
    _simple(xc, abi.XEN_DOMCTL_destroydomain, domid)


def pausedomain(xc, domid):
    """Stop all vCPUs; pauses nest."""
    _simple(xc, abi.XEN_DOMCTL_pausedomain, domid)


def unpausedomain(xc, domid):
    """Undo one pause; a new domain starts with one."""
    _simple(xc, abi.XEN_DOMCTL_unpausedomain, domid)


def _simple(xc, cmd, domid):
    with _domctl(xc, cmd, domid) as call:
        call.issue()


def max_mem(xc, domid, max_memkb):
    """Set how much memory the domain may own."""
    with _domctl(xc, abi.XEN_DOMCTL_max_mem, domid) as call:
        call.u.max_mem.max_memkb = max_memkb
        call.issue()


def max_vcpus(xc, domid, count):
    """Allocate the domain's vCPUs."""
    with _domctl(xc, abi.XEN_DOMCTL_max_vcpus, domid) as call:
        call.u.max_vcpus.max = count
        call.issue()


def hypercall_init(xc, domid, gmfn):
    """Write the hypercall stubs into a frame of the domain."""
    with _domctl(xc, abi.XEN_DOMCTL_hypercall_init, domid) as call:
        call.u.hypercall_init.gmfn = gmfn
        call.issue()


def getdomaininfo(xc, domid):
    """Return a copy of xen_domctl_getdomaininfo, or None if there is no such domain.

    The call answers for the first domain whose id is not below `domid`, hence the comparison.
    """
    with _domctl(xc, abi.XEN_DOMCTL_getdomaininfo, domid) as call:
        try:
            call.issue()
        except HypercallError as error:
            if error.errno == errno.ESRCH:
                return None
            raise
        info = abi.xen_domctl_getdomaininfo.from_buffer_copy(call.u.getdomaininfo)
        return info if info.domain == domid else None


def setvcpucontext(xc, domid, vcpu, context):
    """Set all registers of a vCPU from a vcpu_guest_context; only before it first ran."""
    with _domctl(xc, abi.XEN_DOMCTL_setvcpucontext, domid) as call:
        pinned = call.scratch.new(abi.vcpu_guest_context)
        ctypes.pointer(pinned)[0] = context
        call.u.vcpucontext.vcpu = vcpu
        call.u.vcpucontext.ctxt = ctypes.addressof(pinned)
        call.issue()


def getvcpucontext(xc, domid, vcpu):
    """Return a copy of a vCPU's vcpu_guest_context."""
    with _domctl(xc, abi.XEN_DOMCTL_getvcpucontext, domid) as call:
        pinned = call.scratch.new(abi.vcpu_guest_context)
        call.u.vcpucontext.vcpu = vcpu
        call.u.vcpucontext.ctxt = ctypes.addressof(pinned)
        call.issue()
        return abi.vcpu_guest_context.from_buffer_copy(pinned)


# For a debugger, as gdbsx uses them


def setdebugging(xc, domid, enable):
    """Let breakpoints and steps of the guest kernel pause the domain, or go to the guest again."""
    with _domctl(xc, abi.XEN_DOMCTL_setdebugging, domid) as call:
        call.u.setdebugging.enable = int(enable)
        call.issue()


def single_step(xc, domid, vcpu, enable):
    """Stop a vCPU after each instruction, or no more."""
    with _domctl(xc, abi.XEN_DOMCTL_debug_op, domid) as call:
        on, off = abi.XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_ON, abi.XEN_DOMCTL_DEBUG_OP_SINGLE_STEP_OFF
        call.u.debug_op.op = on if enable else off
        call.u.debug_op.vcpu = vcpu
        call.issue()


def gdbsx_pausevcpu(xc, domid, vcpu):
    """Keep one vCPU paused when its domain, now paused, goes on; pauses nest."""
    _one_vcpu(xc, abi.XEN_DOMCTL_gdbsx_pausevcpu, domid, vcpu)


def gdbsx_unpausevcpu(xc, domid, vcpu):
    """Undo one pause of a vCPU; its domain must be paused."""
    _one_vcpu(xc, abi.XEN_DOMCTL_gdbsx_unpausevcpu, domid, vcpu)


def _one_vcpu(xc, cmd, domid, vcpu):
    with _domctl(xc, cmd, domid) as call:
        call.u.gdbsx_pauseunp_vcpu.vcpu = vcpu
        call.issue()


def gdbsx_domstatus(xc, domid):
    """Ask whether a domain is paused and which vCPU trapped; each trap is told once.

    Returns: (paused, vCPU or None, vector of its trap).
    """
    with _domctl(xc, abi.XEN_DOMCTL_gdbsx_domstatus, domid) as call:
        call.issue()
        status = call.u.gdbsx_domstatus
        vcpu = None if status.vcpu_id == 0xFFFFFFFF else status.vcpu_id
        return bool(status.paused), vcpu, status.vcpu_ev


def read_guest(xc, domid, address, size_bytes):
    """Return bytes of the guest kernel's virtual memory; at most 4096."""
    with _domctl(xc, abi.XEN_DOMCTL_gdbsx_guestmemio, domid) as call:
        buffer, view = call.scratch.bytes(size_bytes)
        _guestmemio(call, address, buffer, size_bytes, write=False)
        return bytes(view)


def write_guest(xc, domid, address, data):
    """Change bytes of the guest kernel's virtual memory, be they mapped read-only; at most 4096."""
    with _domctl(xc, abi.XEN_DOMCTL_gdbsx_guestmemio, domid) as call:
        buffer, view = call.scratch.bytes(len(data))
        view[:] = data
        _guestmemio(call, address, buffer, len(data), write=True)


def _guestmemio(call, address, buffer, size_bytes, write):
    request = call.u.gdbsx_guest_memio
    request.gva, request.uva, request.len = address, buffer, size_bytes
    request.gwr = int(write)
    call.issue()
