"""Start the store daemon in dom0: `python3 -m xenstored`."""

import argparse
import asyncio
import logging

from xen.evtchn import EventChannels
from xen.privcmd import Privcmd
from xen.xenstore import SOCKET

from xenstored.daemon import serve


def main(ready=lambda text: None):
    """Serve; once it does, `ready` is called with what there is to say."""
    parser = argparse.ArgumentParser(prog="xenstored", description=__doc__)
    parser.add_argument("--socket", default=SOCKET, help="where to listen (default: %(default)s)")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(name)s: %(message)s")
    asyncio.run(serve(Privcmd(), EventChannels(), options.socket, ready))


if __name__ == "__main__":
    main()
