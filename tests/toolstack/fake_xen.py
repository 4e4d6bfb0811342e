"""A hypervisor for tests, at the boundary of `xen.privcmd.Privcmd`: all code above it is the real
one.

It keeps what the toolstack can see: frames with owners, domains, page tables that it checks as
strictly as Xen does when they are pinned. Nothing runs; a test plays the guest by writing to its
pages and by calling `shutdown` and `EventChannels.fire`.
"""

import ctypes
import errno
import mmap
from array import array

import xen_codecs as abi
from xen.privcmd import PAGE_SIZE, Arena, HypercallError

from tests.toolstack import fake_debug
from tests.toolstack.fake_memory import FrameMapping, Frames

MACHINE_FRAMES = 64 << 8
FIRST_FREE = 4096
WRITABLE = 2
DOMCTL, SYSCTL = abi.__HYPERVISOR_domctl, abi.__HYPERVISOR_sysctl
MEMORY_OP, MMUEXT_OP = abi.__HYPERVISOR_memory_op, abi.__HYPERVISOR_mmuext_op
CONSOLE_IO = abi.__HYPERVISOR_console_io
EVENT_OP, VERSION = abi.__HYPERVISOR_event_channel_op, abi.__HYPERVISOR_xen_version


class FakeDomain:
    """A domain as the hypervisor keeps it."""

    def __init__(self, domid, handle, frames):
        self.domid, self.handle, self.frames = domid, handle, frames
        self.flags = 0
        self.pauses = 1
        self.vcpus = 0
        self.max_pages = 0
        self.next_port = 1
        self.contexts = {}
        self.debugging = fake_debug.Debugging()
        self.shared_info_mfn = self.pinned = None


class FakeXen:
    """Implements Privcmd's methods. `events` is told when a domain shuts down or dies."""

    def __init__(self, events=None):
        self.memory = Frames(MACHINE_FRAMES)
        self.free = list(range(MACHINE_FRAMES - 1, FIRST_FREE - 1, -1))
        self.domains = {0: FakeDomain(0, bytes(16), set(range(256)))}
        self.domains[0].pauses = 0
        self.scratch = Arena(mmap.mmap(-1, 512 * PAGE_SIZE)).frame
        self.events = events
        self.next_domid = 1
        self.fail = {}
        self.console = bytearray(b"(XEN) hello\n")

    def hypercall(self, op, *args, name="hypercall"):
        """Serve one hypercall. `fail` makes the named operation fail, for tests of rollback."""
        if name in self.fail:
            raise HypercallError(self.fail[name], name)
        handler = {
            DOMCTL: self.domctl,
            SYSCTL: self.sysctl,
            MEMORY_OP: self.memory_op,
            MMUEXT_OP: self.mmuext_op,
            EVENT_OP: self.event_op,
            VERSION: self.version,
            CONSOLE_IO: self.console_io,
        }[op]
        result = handler(*args)
        if result < 0:
            raise HypercallError(-result, name)
        return result

    def map_foreign(self, domid, mfns, writable=True):
        domain = self.domains.get(domid)
        owned = domain and domain.frames | {domain.shared_info_mfn}
        if not owned or not set(mfns) <= owned:
            raise HypercallError(errno.EINVAL, "mapping")
        return FrameMapping(self.memory, mfns, writable)

    def map_resource(self, domid, resource_type, resource_id, first, nr_frames):
        return FrameMapping(self.memory, [self.domains[domid].grant_mfn], True)

    def take(self, count=1):
        """Take frames off the free list, the lowest first."""
        if count > len(self.free):
            return None
        taken = [self.free.pop() for _ in range(count)]
        for mfn in taken:
            self.memory.clear(mfn)
        return taken

    # Domain control

    def domctl(self, address):
        op = abi.xen_domctl.from_address(address)
        if op.interface_version != abi.XEN_DOMCTL_INTERFACE_VERSION:
            return -errno.EACCES
        if op.cmd == abi.XEN_DOMCTL_createdomain:
            return self.createdomain(op)
        domain = self.domains.get(op.domain)
        if op.cmd == abi.XEN_DOMCTL_getdomaininfo:
            return self.getdomaininfo(op)
        if domain is None:
            return -errno.ESRCH
        return self._domctls[op.cmd](self, domain, op.u) or 0

    def createdomain(self, op):
        domain = FakeDomain(self.next_domid, bytes(op.u.createdomain.handle), set())
        (domain.shared_info_mfn,), (domain.grant_mfn,) = self.take(), self.take()
        self.domains[self.next_domid] = domain
        op.domain = self.next_domid
        self.next_domid += 1
        return 0

    def getdomaininfo(self, op):
        later = [domid for domid in self.domains if domid >= op.domain]
        if not later:
            return -errno.ESRCH
        ctypes.pointer(op.u.getdomaininfo)[0] = self.info(self.domains[min(later)])
        return 0

    def info(self, domain):
        """Return a xen_domctl_getdomaininfo."""
        info = abi.xen_domctl_getdomaininfo()
        info.domain = domain.domid
        info.flags = domain.flags | (abi.XEN_DOMINF_paused if domain.pauses else 0)
        if domain.debugging.attached:
            info.flags |= abi.XEN_DOMINF_debugged
        info.tot_pages = len(domain.frames)
        info.shared_info_frame = domain.shared_info_mfn or 0
        info.nr_online_vcpus = 1
        info.max_vcpu_id = max(domain.vcpus - 1, 0)
        info.handle[:] = domain.handle
        return info

    def destroydomain(self, domain, _):
        self.domains.pop(domain.domid)
        self.free += [*domain.frames, domain.shared_info_mfn, domain.grant_mfn]
        self.free.sort(reverse=True)
        self.events.dom_exc()

    def max_vcpus(self, domain, u):
        domain.vcpus = u.max_vcpus.max

    def max_mem(self, domain, u):
        domain.max_pages = u.max_mem.max_memkb // 4

    def hypercall_init(self, domain, u):
        if u.hypercall_init.gmfn not in domain.frames:
            return -errno.EINVAL
        self.memory.page(u.hypercall_init.gmfn)[:4] = b"\x90\x90\x0f\x05"

    def setvcpucontext(self, domain, u):
        context = abi.vcpu_guest_context.from_address(u.vcpucontext.ctxt)
        if context.ctrlreg[3] >> 12 != domain.pinned:
            return -errno.EINVAL
        domain.contexts[u.vcpucontext.vcpu] = abi.vcpu_guest_context.from_buffer_copy(context)

    def getvcpucontext(self, domain, u):
        context = domain.contexts.get(u.vcpucontext.vcpu)
        if context is None:
            return -errno.EINVAL
        ctypes.memmove(u.vcpucontext.ctxt, ctypes.addressof(context), ctypes.sizeof(context))

    def pausedomain(self, domain, _):
        domain.pauses += 1

    def unpausedomain(self, domain, _):
        domain.pauses -= 1

    _domctls = {
        abi.XEN_DOMCTL_destroydomain: destroydomain,
        abi.XEN_DOMCTL_max_vcpus: max_vcpus,
        abi.XEN_DOMCTL_max_mem: max_mem,
        abi.XEN_DOMCTL_hypercall_init: hypercall_init,
        abi.XEN_DOMCTL_setvcpucontext: setvcpucontext,
        abi.XEN_DOMCTL_getvcpucontext: getvcpucontext,
        abi.XEN_DOMCTL_pausedomain: pausedomain,
        abi.XEN_DOMCTL_unpausedomain: unpausedomain,
        **fake_debug.DOMCTLS,
    }

    def shutdown(self, domid, reason):
        """Play a guest that calls SCHEDOP_shutdown."""
        self.domains[domid].flags = (
            abi.XEN_DOMINF_shutdown | int(reason) << abi.XEN_DOMINF_shutdownshift
        )
        self.events.dom_exc()

    # The machine

    def sysctl(self, address):
        op = abi.xen_sysctl.from_address(address)
        if op.cmd == abi.XEN_SYSCTL_physinfo:
            op.u.physinfo.nr_cpus = 2
            op.u.physinfo.max_cpu_id = 1
            op.u.physinfo.cpu_khz = 2_000_000
            op.u.physinfo.total_pages = MACHINE_FRAMES
            op.u.physinfo.free_pages = len(self.free)
        elif op.cmd == abi.XEN_SYSCTL_cputopoinfo:
            places = (abi.xen_sysctl_cputopo * 2).from_address(op.u.cputopoinfo.cputopo)
            places[1].core = 1
        elif op.cmd == abi.XEN_SYSCTL_numainfo:
            memory = abi.xen_sysctl_meminfo.from_address(op.u.numainfo.meminfo)
            memory.memsize, memory.memfree = MACHINE_FRAMES << 12, len(self.free) << 12
            ctypes.c_uint32.from_address(op.u.numainfo.distance).value = 10
        elif op.cmd == abi.XEN_SYSCTL_getdomaininfolist:
            request = op.u.getdomaininfolist
            domains = [d for k, d in sorted(self.domains.items()) if k >= request.first_domain]
            out = (abi.xen_domctl_getdomaininfo * request.max_domains).from_address(request.buffer)
            request.num_domains = min(len(domains), request.max_domains)
            for index in range(request.num_domains):
                out[index] = self.info(domains[index])
        elif op.cmd == abi.XEN_SYSCTL_readconsole:
            request = op.u.readconsole
            text = bytes(self.console[request.index if request.incremental else 0 :])
            ctypes.memmove(request.buffer, text, len(text))
            request.count, request.index = len(text), len(self.console)
            if request.clear:
                self.console.clear()
        elif op.cmd == abi.XEN_SYSCTL_debug_keys:
            keys = ctypes.string_at(op.u.debug_keys.keys, op.u.debug_keys.nr_keys)
            self.console += b"(XEN) keys " + keys + b"\n"
        return 0

    def console_io(self, cmd, size, address):
        assert cmd == abi.CONSOLEIO_write
        self.console += ctypes.string_at(address, size)
        return 0

    def version(self, cmd, address):
        if cmd == abi.XENVER_version:
            return 4 << 16 | 17
        text = {abi.XENVER_extraversion: b".0", abi.XENVER_capabilities: b"xen-3.0-x86_64 "}[cmd]
        ctypes.memmove(address, text + b"\0", len(text) + 1)
        return 0

    # Memory and events

    def memory_op(self, cmd, address):
        if cmd == abi.XENMEM_set_memory_map:
            return 0
        request = abi.xen_memory_reservation.from_address(address)
        domain = self.domains[request.domid]
        extents = (ctypes.c_uint64 * request.nr_extents).from_address(request.extent_start)
        for index in range(request.nr_extents):
            size = 1 << request.extent_order
            full = len(domain.frames) + size > domain.max_pages
            frames = None if full else self.take(size)
            if frames is None:
                return index
            domain.frames.update(frames)
            extents[index] = frames[0]
            assert frames == list(range(frames[0], frames[0] + size)), "test memory is fragmented"
        return request.nr_extents

    def mmuext_op(self, address, count, done, domid):
        op = abi.mmuext_op.from_address(address)
        domain = self.domains[domid]
        if not PageTableCheck(self.memory, domain).valid(op.arg1.mfn):
            return -errno.EINVAL
        domain.pinned = op.arg1.mfn
        return 0

    def event_op(self, cmd, address):
        op = abi.evtchn_alloc_unbound.from_address(address)
        domain = self.domains[op.dom]
        op.port, domain.next_port = domain.next_port, domain.next_port + 1
        return 0


class PageTableCheck:
    """Xen's rules for a page table that is being pinned: own frames only, tables mapped read-only,
    nobody writes.
    """

    def __init__(self, memory, domain):
        self.memory, self.domain = memory, domain
        self.tables, self.writable = {}, set()

    def valid(self, mfn):
        if not self._walk(mfn, 4):
            return False
        tables = set(self.tables)
        return not tables & self.writable and not any(self.memory.live.get(m) for m in tables)

    def _walk(self, mfn, level):
        if mfn not in self.domain.frames or self.tables.setdefault(mfn, level) != level:
            return False
        for entry in array("Q", self.memory.page(mfn).tobytes()):
            if not entry & 1:
                continue
            target = entry >> 12 & (1 << 40) - 1
            if target not in self.domain.frames:
                return False
            if level == 1 and entry & WRITABLE:
                self.writable.add(target)
            elif level > 1 and not self._walk(target, level - 1):
                return False
        return True


class FakeEvents:
    """Implements EventChannels' methods; `fire` plays a guest that signals."""

    def __init__(self):
        self.bound, self.handlers, self.notified = {}, {}, []
        self.virqs = []
        self.next_port = 1

    def attach(self, loop):
        pass

    def bind_virq(self, virq, handler):
        self.virqs.append(handler)
        return 1000

    def bind_interdomain(self, remote_domain, remote_port, handler):
        port, self.next_port = self.next_port, self.next_port + 1
        self.bound[remote_domain, remote_port] = port
        self.handlers[port] = handler
        return port

    def unbind(self, port):
        self.handlers.pop(port, None)

    def notify(self, port):
        self.notified.append(port)

    def fire(self, domid, port):
        """Play a guest that signals one of its ports."""
        self.handlers[self.bound[domid, port]]()

    def dom_exc(self):
        """Raise VIRQ_DOM_EXC."""
        for handler in self.virqs:
            handler()
