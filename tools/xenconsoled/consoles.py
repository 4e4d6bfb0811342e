"""All consoles: maps their pages and binds their event channels."""

import os
from array import array

from xenconsoled.console import Console
from xenconsoled.ring import ConsoleRing

LOG_DIRECTORY = "/var/log/proxen"


class Consoles:
    """Makes and drops consoles. `xc` and `events` are the hypervisor's devices."""

    def __init__(self, xc, events, directory=LOG_DIRECTORY):
        self.xc, self.events, self.directory = xc, events, directory
        self.mapped = {}
        os.makedirs(directory, exist_ok=True)

    def open(self, name, domid, mfn, port, keep_log=False):
        """Return the Console of a domain, served from now on.

        Args:   mfn, port: its console frame and unbound event channel; keep_log: it ran before xend
                was started.
        Errors: OSError, the frame or port is not the domain's.
        """
        path = os.path.join(self.directory, f"console-{name}.log")
        if not keep_log and os.path.exists(path):
            os.unlink(path)
        mapping = self.xc.map_foreign(domid, array("Q", [mfn]))
        console = Console(path)
        if keep_log:
            console.restore()
        try:
            local_port = self.events.bind_interdomain(domid, port, console.pump)
        except OSError:
            mapping.close()
            raise
        ring = ConsoleRing(mapping.view)
        console.attach(ring, lambda: self.events.notify(local_port))
        self.mapped[domid] = (console, mapping, local_port)
        console.pump()
        return console

    def close(self, domid):
        """Take the last output of a domain and unmap its page, so that its memory can be freed."""
        if domid not in self.mapped:
            return
        console, mapping, port = self.mapped.pop(domid)
        console.detach()
        self.events.unbind(port)
        mapping.close()
