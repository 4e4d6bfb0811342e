"""WebSockets, the server's side: wsproto's handshake and frames, our limits and our heartbeat.

A message is a str or bytes. A client that is silent for two heartbeats is taken to be gone.
"""

import asyncio
import contextlib

import h11
from wsproto import ConnectionType, WSConnection
from wsproto.events import AcceptConnection, CloseConnection, Message, Ping
from wsproto.frame_protocol import CloseReason
from wsproto.utilities import RemoteProtocolError

from web.errors import HttpError

MESSAGE_BYTES = 4 << 20
PIECE_BYTES = 64 << 10
HEARTBEAT_S = 30


class WebSocket:
    """A WebSocket in place of a request's answer: `async for message in socket`, `send`."""

    def __init__(self, request, heartbeat_s=HEARTBEAT_S):
        self._protocol = _shake_hands(request)
        self._reader, self._writer = request.connection.reader, request.connection.writer
        self._write(AcceptConnection())
        early, _ = request.connection.protocol.trailing_data
        self._protocol.receive_data(early)
        request.connection.begun = self
        self.closed, self._alive = False, True
        self._heart = asyncio.ensure_future(self._beat(heartbeat_s))

    async def send(self, message):
        """Send a message. Errors: ConnectionResetError, the client has left."""
        if self.closed or self._writer.is_closing():
            raise ConnectionResetError("the WebSocket is closed")
        self._write(Message(data=message))
        await self._writer.drain()

    async def close(self, code=CloseReason.NORMAL_CLOSURE):
        """Say goodbye; the connection ends with its handler."""
        await self._close(CloseConnection(code=code))

    async def finish(self, connection):
        """Say goodbye, should the handler not have."""
        await self.close()

    async def __aiter__(self):
        """Yield messages, until the client leaves or does wrong."""
        data = bytearray()
        with contextlib.suppress(ConnectionError):
            async for part in self._parts():
                text = isinstance(part.data, str)
                data += part.data.encode() if text else part.data
                if len(data) > MESSAGE_BYTES:
                    await self.close(CloseReason.MESSAGE_TOO_BIG)
                    return
                if part.message_finished:
                    yield data.decode() if text else bytes(data)
                    data.clear()

    async def _parts(self):
        """Yield the parts of messages; pings and the client's end are answered meanwhile."""
        while not self.closed:
            for event in self._protocol.events():
                if isinstance(event, Message):
                    yield event
                elif isinstance(event, CloseConnection):  # also wsproto's judgement on a client
                    await self._close(event.response())
                elif isinstance(event, Ping) and not self.closed:
                    self._write(event.response())
                    await self._writer.drain()
            if self.closed or not (received := await self._reader.read(PIECE_BYTES)):
                return
            self._alive = True
            self._protocol.receive_data(received)

    async def _close(self, goodbye):
        if not self.closed:
            self.closed = True
            self._heart.cancel()
            with contextlib.suppress(ConnectionError):
                self._write(goodbye)
                await self._writer.drain()

    async def _beat(self, heartbeat_s):
        """Ask the client now and then whether it is there."""
        while True:
            await asyncio.sleep(heartbeat_s)
            if not self._alive:
                self._writer.transport.abort()
                return
            self._alive = False
            self._write(Ping())

    def _write(self, event):
        self._writer.write(self._protocol.send(event))


def _shake_hands(request):
    """Return wsproto's side of the connection.

    Errors: HttpError 400, 426, the client asks for no WebSocket.
    """
    if request.method != "GET" or not request.connection.body_read:
        raise HttpError(400, "A WebSocket is asked for by GET, and without a body")
    protocol = WSConnection(ConnectionType.SERVER)
    try:
        protocol.initiate_upgrade_connection(request.headers, request.target)
    except RemoteProtocolError as error:
        hint = error.event_hint
        headers = {name.decode(): value.decode() for name, value in hint.headers}
        raise HttpError(hint.status_code, f"This is a WebSocket: {error}", headers) from None
    except (h11.LocalProtocolError, UnicodeError) as error:
        raise HttpError(400, f"This is a WebSocket: {error}") from None
    return protocol
