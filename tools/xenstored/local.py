"""dom0's processes: the unix socket."""

import asyncio

import xen_codecs as abi
from xen.xs_wire import Decoder, ProtocolError

QUEUE_BYTES_MAX = 4 << 20


class SocketConnection(asyncio.Protocol):
    """A process's session over the socket. `open_session(domid, send)` makes it."""

    def __init__(self, open_session):
        self.open_session = open_session
        self.decoder = Decoder()

    def connection_made(self, transport):
        self.transport = transport
        self.session = self.open_session(0, self.send)

    def send(self, packet):
        """Send a packet; a client that has stopped reading loses its watch events."""
        late = self.transport.get_write_buffer_size() > QUEUE_BYTES_MAX
        if not (late and packet.type == abi.XS_WATCH_EVENT):
            self.transport.write(packet.encode())

    def data_received(self, data):
        self.decoder.feed(data)
        try:
            while packet := self.decoder.next():
                self.session.handle(packet)
        except ProtocolError:
            self.transport.abort()

    def connection_lost(self, error):
        self.session.close()
