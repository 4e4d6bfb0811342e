"""Answers: whole ones, files, and streams whose end is not known when they begin.

Each has `send(request)`, which the server calls, and then `keeps`: whether another request may
follow.
"""

import json
import os

from web.errors import reason_of

PIECE_BYTES = 256 << 10


def head(status, headers, keeps=True):
    """Return the first lines of an answer; the second says whether the connection ends."""
    lines = [f"HTTP/1.1 {status} {reason_of(status)}", *([] if keeps else ["Connection: close"])]
    lines += [f"{name}: {value}" for name, value in headers.items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class Response:
    """An answer that is there as a whole."""

    def __init__(self, text=None, *, body=b"", status=200, content_type="text/plain", headers=None):
        if text is not None:
            body, content_type = text.encode(), f"{content_type}; charset=utf-8"
        self.status, self.body = status, body
        self.headers = {"Content-Type": content_type, **(headers or {})}

    async def send(self, request):
        """Write the answer to the client."""
        self.keeps, writer = request.may_continue, request.connection.writer
        headers = self.headers | {"Content-Length": len(self.body)}
        first = head(self.status, headers, self.keeps)
        writer.write(first + (b"" if request.method == "HEAD" else self.body))
        await writer.drain()


def json_response(value, *, status=200, headers=None):
    """Return an answer that is a JSON value."""
    return Response(
        json.dumps(value), status=status, content_type="application/json", headers=headers
    )


class FileResponse:
    """A file, as long as it is when the answer begins."""

    def __init__(self, path):
        self.path = path

    async def send(self, request):
        """Write head and file to the client."""
        self.keeps, writer = request.may_continue, request.connection.writer
        with open(self.path, "rb") as file:
            left = os.fstat(file.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": left}
            writer.write(head(200, headers, self.keeps))
            while left and request.method != "HEAD":
                piece = file.read(min(left, PIECE_BYTES))
                if not piece:  # it has become shorter
                    self.keeps = False
                    break
                left -= len(piece)
                writer.write(piece)
                await writer.drain()


class StreamResponse:
    """An answer that is written piece by piece; its handler is cancelled when the client leaves."""

    def __init__(self, content_type):
        self.content_type = content_type
        self.keeps, self.connection, self._chunked, self._mute = False, None, False, False

    async def prepare(self, request):
        """Write the head."""
        self.connection, request.begun = request.connection, self
        self._chunked, self._mute = request.version >= (1, 1), request.method == "HEAD"
        self.keeps = self._chunked and request.may_continue
        framing = {"Transfer-Encoding": "chunked"} if self._chunked else {}
        headers = {"Content-Type": self.content_type} | framing
        self.connection.writer.write(head(200, headers, self.keeps))
        self.connection.cancel_when_lost = True
        await self.connection.writer.drain()

    async def write(self, data):
        """Write a piece. Errors: ConnectionResetError, the client has left."""
        if data and not self._mute:
            if self._chunked:
                data = b"%x\r\n%b\r\n" % (len(data), data)
            self.connection.writer.write(data)
        await self.connection.writer.drain()

    async def send(self, request):
        """End the answer, once its handler has returned."""
        if self.connection is None:
            await self.prepare(request)
        if self._chunked and not self._mute:
            self.connection.writer.write(b"0\r\n\r\n")
            await self.connection.writer.drain()
