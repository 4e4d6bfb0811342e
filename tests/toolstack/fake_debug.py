"""The debugger's domctls of the fake hypervisor, and a guest that traps when a test says so."""

import ctypes
import errno
from array import array

import xen_codecs as abi

TF = 1 << 8
TABLES = (39, 30, 21, 12)
PAGE = 4096


class Debugging:
    """What the hypervisor keeps of a debugged domain."""

    def __init__(self):
        self.attached = False
        self.events = {}  # vCPU: vector
        self.held = {}  # vCPU: pauses


def setdebugging(xen, domain, u):
    domain.debugging.attached = bool(u.setdebugging.enable)


def debug_op(xen, domain, u):
    if u.debug_op.vcpu not in domain.contexts:
        return -errno.EINVAL
    regs = domain.contexts[u.debug_op.vcpu].user_regs
    regs.rflags = regs.rflags & ~TF | (TF if u.debug_op.op else 0)
    return 0


def pausevcpu(xen, domain, u):
    if not domain.pauses:
        return -errno.EBUSY
    vcpu = u.gdbsx_pauseunp_vcpu.vcpu
    domain.debugging.held[vcpu] = domain.debugging.held.get(vcpu, 0) + 1
    return 0


def unpausevcpu(xen, domain, u):
    if not domain.pauses:
        return -errno.EBUSY
    domain.debugging.held[u.gdbsx_pauseunp_vcpu.vcpu] -= 1
    return 0


def domstatus(xen, domain, u):
    status = u.gdbsx_domstatus
    status.paused, status.vcpu_id = int(domain.pauses > 0), 0xFFFFFFFF
    if domain.pauses and domain.debugging.events:
        status.vcpu_id = min(domain.debugging.events)
        status.vcpu_ev = domain.debugging.events.pop(status.vcpu_id)


def guestmemio(xen, domain, u):
    io = u.gdbsx_guest_memio
    place = find(xen, domain, io.gva)
    if place is None or io.gva % PAGE + io.len > PAGE:
        return -errno.EFAULT
    buffer = memoryview((ctypes.c_ubyte * io.len).from_address(io.uva)).cast("B")
    guest = place[: io.len]
    if io.gwr:
        guest[:] = buffer
    else:
        buffer[:] = guest
    io.remain = 0
    return 0


def find(xen, domain, address):
    """Return a guest's memory from a virtual address to the end of the page, None: not mapped."""
    mfn = domain.contexts[0].ctrlreg[3] >> 12
    for shift in TABLES:
        entry = array("Q", xen.memory.page(mfn).tobytes())[address >> shift & 511]
        if not entry & 1:
            return None
        mfn = entry >> 12 & (1 << 40) - 1
    return xen.memory.page(mfn)[address % PAGE :]


def trap(xen, domid, vcpu, vector):
    """Play a vCPU of a debugged domain that runs into #BP or #DB."""
    domain = xen.domains[domid]
    assert domain.debugging.attached and not domain.pauses, "it cannot trap now"
    assert not domain.debugging.held.get(vcpu), "that vCPU is paused"
    domain.debugging.events[vcpu] = vector
    domain.pauses += 1
    xen.events.dom_exc()


DOMCTLS = {
    abi.XEN_DOMCTL_setdebugging: setdebugging,
    abi.XEN_DOMCTL_debug_op: debug_op,
    abi.XEN_DOMCTL_gdbsx_pausevcpu: pausevcpu,
    abi.XEN_DOMCTL_gdbsx_unpausevcpu: unpausevcpu,
    abi.XEN_DOMCTL_gdbsx_domstatus: domstatus,
    abi.XEN_DOMCTL_gdbsx_guestmemio: guestmemio,
}
