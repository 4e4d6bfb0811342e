"""Start xend in dom0: `python3 -m xend`."""

import argparse
import asyncio
import contextlib
import logging
import os
import signal
import socket

from web import Server
from xen.evtchn import EventChannels
from xen.privcmd import Privcmd
from xen.xenstore import SOCKET, Xenstore
from xenconsoled.consoles import Consoles

from xend.api import make_app
from xend.construction import Constructor
from xend.disks import Disks
from xend.files import Files
from xend.manager import Manager

PORT = 8000
INTERFACES = ("lo", "eth0")

log = logging.getLogger("xend")


def bind(interface, port):
    """Return a listening socket on one interface: a guest on the bridge must not reach xend."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
    listener.bind(("0.0.0.0", port))
    return listener


async def serve(options, ready):
    """Run until the process is ended; debugged domains are then let go. `ready` is called once it
    serves.
    """
    ended = asyncio.current_task().cancel
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended)
    xc, events = Privcmd(), EventChannels()
    events.attach(asyncio.get_running_loop())
    store = await Xenstore.connect(options.xenstore)
    consoles, files = Consoles(xc, events), Files()
    disks = Disks(files)
    constructor = Constructor(xc, store, consoles, files, disks)
    manager = Manager(xc, store, consoles, constructor, disks)
    await manager.start()
    server = Server(make_app(manager, files, events))
    for interface in options.interface or INTERFACES:
        if os.path.exists(f"/sys/class/net/{interface}"):
            await server.listen(bind(interface, options.port))
            log.info("listening on %s, port %d", interface, options.port)
    ready(f"xend listening on {options.port}")
    await store.receiver
    raise SystemExit("xend: xenstored is gone; start it and then xend again")


def main(ready=lambda text: None):
    """Serve; once it does, `ready` is called with what there is to say."""
    parser = argparse.ArgumentParser(prog="xend", description=__doc__)
    parser.add_argument("--port", type=int, default=PORT)
    parser.add_argument("--interface", action="append", help="listen here (default: lo and eth0)")
    parser.add_argument("--xenstore", default=SOCKET, help="xenstored's socket")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    with contextlib.suppress(asyncio.CancelledError):
        asyncio.run(serve(options, ready))


if __name__ == "__main__":
    main()
