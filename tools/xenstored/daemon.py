"""The daemon: which domains have a ring, and what happens when one comes, goes or dies.

dom0's kernel has a ring too, made by itself before any store runs: /dev/xen/xenbus_backend maps its
page and names its event channel. Guests' rings are introduced by xend. VIRQ_DOM_EXC says that some
domain shut down or died.
"""

import asyncio
import errno
import fcntl
import logging
import mmap
import os
from array import array

import xen_codecs as abi
from xen import domctl
from xen.privcmd import PAGE_SIZE, HypercallError

from xenstored.local import SocketConnection
from xenstored.ring import RingConnection
from xenstored.session import Session
from xenstored.store import Store, refuse
from xenstored.watches import Watches

IOCTL_XENBUS_BACKEND_EVTCHN = ord("B") << 8 | 0

log = logging.getLogger("xenstored")


class Domain:
    """A domain with a ring: its mapping, port and connection."""

    def __init__(self, mapping, port, connection):
        self.mapping, self.port, self.connection = mapping, port, connection
        self.shutdown = False


class Daemon:
    """All that lives as long as the process. `xc` and `events` are the hypervisor's devices."""

    def __init__(self, xc, events, loop):
        self.xc, self.events, self.loop = xc, events, loop
        self.store = Store()
        self.watches = Watches(self.store)
        self.domains = {}
        for path in ("/local/domain/0", "/tool/xenstored", "/vm"):
            self.store.live.mkdir(0, path)
        events.bind_virq(abi.VIRQ_DOM_EXC, self.check_domains)

    def open_session(self, domid, send):
        """Return a Session for a new connection."""
        return Session(domid, self.store, self.watches, self, send)

    async def listen(self, path):
        """Serve dom0's processes on a unix socket."""
        os.makedirs(os.path.dirname(path), exist_ok=True)
        if os.path.exists(path):
            os.unlink(path)
        return await self.loop.create_unix_server(lambda: SocketConnection(self.open_session), path)

    def attach_dom0(self, device="/dev/xen/xenbus_backend"):
        """Connect dom0's kernel, which waits for the first event on its ring."""
        fd = os.open(device, os.O_RDWR | os.O_CLOEXEC)
        port = fcntl.ioctl(fd, IOCTL_XENBUS_BACKEND_EVTCHN)
        page = mmap.mmap(fd, PAGE_SIZE, mmap.MAP_SHARED)
        os.close(fd)
        self._connect(0, page, memoryview(page), port)

    def introduce(self, domid, mfn, port):
        """Connect a guest by the frame of its ring and its unbound port.

        Errors: EINVAL, no such domain, or a frame or port that is not its; EISCONN, dom0 is
                connected for good.
        """
        if domid == 0:
            raise refuse(errno.EISCONN)
        if domid in self.domains:
            self.disconnect(domid)
        try:
            mapping = self.xc.map_foreign(domid, array("Q", [mfn]))
        except HypercallError:
            raise refuse(errno.EINVAL) from None
        try:
            self._connect(domid, mapping, mapping.view, port)
        except OSError:
            mapping.close()
            raise refuse(errno.EINVAL) from None

    def _connect(self, domid, mapping, page, remote_port):
        connection = RingConnection(page, None, self.loop)
        port = self.events.bind_interdomain(domid, remote_port, connection.run)
        connection.notify = lambda: self.events.notify(port)
        connection.session = self.open_session(domid, connection.send)
        self.domains[domid] = Domain(mapping, port, connection)
        self.events.notify(port)
        connection.run()

    def disconnect(self, domid):
        """Drop a guest's ring, so that its memory can be freed."""
        domain = self.domains.pop(domid)
        domain.connection.broken = True
        domain.connection.session.close()
        self.events.unbind(domain.port)
        domain.connection.ring.words.release()
        domain.mapping.close()

    def release(self, domid):
        """Forget a guest. Errors: ENOENT."""
        if domid == 0 or domid not in self.domains:
            raise refuse(errno.ENOENT)
        self.disconnect(domid)

    def is_introduced(self, domid):
        """Say whether a domain has a connection."""
        return domid in self.domains

    def resume(self, domid):
        """Note that a domain that had shut down runs again. Errors: ENOENT."""
        if domid not in self.domains:
            raise refuse(errno.ENOENT)
        self.domains[domid].shutdown = False

    def check_domains(self):
        """Find which domains shut down or died, and tell the watchers of @releaseDomain."""
        changed = False
        for domid, domain in list(self.domains.items()):
            if domid == 0:
                continue
            info = domctl.getdomaininfo(self.xc, domid)
            if info is None or info.flags & abi.XEN_DOMINF_dying:
                self.disconnect(domid)
                changed = True
            elif info.flags & abi.XEN_DOMINF_shutdown and not domain.shutdown:
                domain.shutdown = changed = True
        if changed:
            self.watches.fire_special("@releaseDomain")


async def serve(xc, events, socket_path, ready):
    """Run the store until the process ends; `ready` is called once it serves."""
    loop = asyncio.get_running_loop()
    daemon = Daemon(xc, events, loop)
    events.attach(loop)
    server = await daemon.listen(socket_path)
    daemon.attach_dom0()
    log.info("ready on %s", socket_path)
    ready("xenstored up")
    await server.serve_forever()
