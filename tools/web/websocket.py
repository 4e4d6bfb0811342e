"""WebSockets, the server's side.

Source: RFC 6455. A client that is silent for two heartbeats is taken to be gone.
"""

import asyncio
import base64
import contextlib
import hashlib
from typing import NamedTuple

from web.errors import HttpError
from web.messages import head

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
GUID = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
MESSAGE_BYTES = 4 << 20
HEARTBEAT_S = 30
NORMAL, PROTOCOL_ERROR, TOO_BIG = 1000, 1002, 1009


class Message(NamedTuple):
    """A message: TEXT or BINARY, and its bytes."""

    kind: int
    data: bytes


class Broken(Exception):
    """The client broke the protocol; the argument is the code with which the connection closes."""


class WebSocket:
    """A WebSocket: `await accept(request)`, then `async for message in socket`, `send`."""

    def __init__(self, heartbeat_s=HEARTBEAT_S):
        self.heartbeat_s, self.keeps = heartbeat_s, False
        self.accepted = self.closed = False
        self._alive = True

    async def accept(self, request):
        """Answer the handshake. Errors: HttpError 400, the client asks for no WebSocket."""
        key = request.headers.get("sec-websocket-key", "").encode()
        version = request.headers.get("sec-websocket-version")
        if not request.wants_websocket or not key or version != "13":
            raise HttpError(400, "This is a WebSocket, version 13")
        self.reader, self.writer = request.connection.reader, request.connection.writer
        proof = base64.b64encode(hashlib.sha1(key + GUID).digest()).decode()
        headers = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Accept": proof}
        self.writer.write(head(101, headers))
        self.accepted, request.begun = True, self
        self._heart = asyncio.ensure_future(self._beat())

    async def send(self, kind, data):
        """Send a message. Errors: ConnectionResetError, the client has left."""
        if self.closed or self.writer.is_closing():
            raise ConnectionResetError("the WebSocket is closed")
        self.writer.write(_frame(kind, data))
        await self.writer.drain()

    async def close(self, code=NORMAL):
        """Say goodbye; the connection ends with its handler."""
        if self.accepted and not self.closed:
            self.closed = True
            self._heart.cancel()
            with contextlib.suppress(ConnectionResetError):
                self.writer.write(_frame(CLOSE, code.to_bytes(2, "big")))
                await self.writer.drain()

    def __aiter__(self):
        return self

    async def __anext__(self):
        """Return the next message; the iteration ends when the client leaves."""
        try:
            return await self._message()
        except Broken as broken:
            await self.close(broken.args[0])
        except (asyncio.IncompleteReadError, ConnectionResetError):
            pass
        raise StopAsyncIteration

    async def _message(self):
        """Return the next message, put together of its fragments; pings are answered meanwhile."""
        kind, data = None, b""
        while True:
            final, opcode, payload = await self._read_frame(MESSAGE_BYTES - len(data))
            if opcode == CLOSE:
                raise Broken(NORMAL)
            if opcode == PING:
                self.writer.write(_frame(PONG, payload))
            elif opcode in (TEXT, BINARY, CONTINUATION):
                if (kind is None) == (opcode == CONTINUATION):
                    raise Broken(PROTOCOL_ERROR)
                kind, data = opcode or kind, data + payload
                if final:
                    return Message(kind, data)
            elif opcode != PONG:
                raise Broken(PROTOCOL_ERROR)

    async def _read_frame(self, limit):
        """Return (whether it is the last, opcode, payload) of a frame."""
        first, second = await self.reader.readexactly(2)
        self._alive = True
        length, opcode = second & 127, first & 15
        if not second & 128 or first & 0x70 or (opcode >= CLOSE and (length > 125 or first < 128)):
            raise Broken(PROTOCOL_ERROR)  # unmasked, an extension, or a long control frame
        if length >= 126:
            length = int.from_bytes(await self.reader.readexactly(2 if length == 126 else 8), "big")
        if length > limit:
            raise Broken(TOO_BIG)
        mask = await self.reader.readexactly(4)
        return first >= 128, opcode, _unmask(await self.reader.readexactly(length), mask)

    async def _beat(self):
        """Ask the client now and then whether it is there."""
        while True:
            await asyncio.sleep(self.heartbeat_s)
            if not self._alive:
                self.writer.transport.abort()
                return
            self._alive = False
            self.writer.write(_frame(PING, b""))


def _frame(opcode, data):
    """Return a frame of the server: whole, unmasked."""
    length = len(data)
    if length < 126:
        size = bytes([length])
    elif length < 1 << 16:
        size = b"\x7e" + length.to_bytes(2, "big")
    else:
        size = b"\x7f" + length.to_bytes(8, "big")
    return bytes([128 | opcode]) + size + data


def _unmask(data, mask):
    """Return a client's payload: XOR as one number, for a loop over bytes takes seconds."""
    whole = int.from_bytes(data, "big") ^ int.from_bytes(
        (mask * (len(data) // 4 + 1))[: len(data)], "big"
    )
    return whole.to_bytes(len(data), "big")
