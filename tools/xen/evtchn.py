"""Event channels from user space, through /dev/xen/evtchn.

Reading the device gives the ports that fired, each masked until it is written back. `EventChannels`
binds ports to callbacks and plugs into asyncio: a callback runs, then its port is unmasked, so that
an event which arrives meanwhile is seen again and none is lost.
"""

import fcntl
import logging
import os
import struct
from array import array

IOCTL_EVTCHN_BIND_VIRQ = 4 << 16 | ord("E") << 8 | 0
IOCTL_EVTCHN_BIND_INTERDOMAIN = 8 << 16 | ord("E") << 8 | 1
IOCTL_EVTCHN_UNBIND = 4 << 16 | ord("E") << 8 | 3
IOCTL_EVTCHN_NOTIFY = 4 << 16 | ord("E") << 8 | 4

log = logging.getLogger("evtchn")


class EventChannels:
    """Ports of this process. Context: one asyncio loop; not for threads."""

    def __init__(self, device="/dev/xen/evtchn"):
        self.fd = os.open(device, os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        self.handlers = {}

    def attach(self, loop):
        """Deliver events from `loop` from now on."""
        loop.add_reader(self.fd, self.deliver)

    def bind_virq(self, virq, handler):
        """Bind a virtual interrupt; returns the local port."""
        return self._bind(IOCTL_EVTCHN_BIND_VIRQ, struct.pack("=I", virq), handler)

    def bind_interdomain(self, remote_domain, remote_port, handler):
        """Connect to an unbound port of another domain; returns the local port."""
        request = struct.pack("=II", remote_domain, remote_port)
        return self._bind(IOCTL_EVTCHN_BIND_INTERDOMAIN, request, handler)

    def _bind(self, request, argument, handler):
        """Only with a mutable buffer does `fcntl.ioctl` return the result, here the port."""
        port = fcntl.ioctl(self.fd, request, bytearray(argument))
        self.handlers[port] = handler
        return port

    def unbind(self, port):
        """Close a port; its handler is never called again."""
        if self.handlers.pop(port, None) is not None:
            fcntl.ioctl(self.fd, IOCTL_EVTCHN_UNBIND, struct.pack("=I", port))

    def notify(self, port):
        """Signal the far end."""
        fcntl.ioctl(self.fd, IOCTL_EVTCHN_NOTIFY, struct.pack("=I", port))

    def deliver(self):
        """Call the handlers of all ports that fired, and unmask them."""
        try:
            ports = array("I", os.read(self.fd, 4096))
        except BlockingIOError:
            return
        for port in ports:
            handler = self.handlers.get(port)
            if handler is None:
                continue
            try:
                handler()
            except Exception:
                log.exception("handler of event channel port %d", port)
            if port in self.handlers:
                os.write(self.fd, struct.pack("=I", port))
