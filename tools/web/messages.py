"""Answers: whole ones, files, and streams whose end is not known when they begin.

Each has `finish(connection)`, which sends what of it is not sent yet once its handler has returned.
"""

import json
import os

PIECE_BYTES = 256 << 10


class Response:
    """An answer that is there as a whole."""

    def __init__(self, text=None, *, body=b"", status=200, content_type="text/plain", headers=None):
        if text is not None:
            body, content_type = text.encode(), f"{content_type}; charset=utf-8"
        self.status, self.body = status, body
        self.headers = {"Content-Type": content_type, **(headers or {})}

    async def finish(self, connection):
        """Send the answer."""
        connection.begin(self.status, self.headers | {"Content-Length": len(self.body)})
        await connection.send(self.body)
        await connection.end()


def json_response(value, *, status=200, headers=None):
    """Return an answer that is a JSON value."""
    return Response(
        json.dumps(value), status=status, content_type="application/json", headers=headers
    )


class FileResponse:
    """A file, as long as it is when the answer begins."""

    def __init__(self, path):
        self.path = path

    async def finish(self, connection):
        """Send head and file; where the file has become shorter, the connection ends amid it."""
        with open(self.path, "rb") as file:
            left = os.fstat(file.fileno()).st_size
            headers = {"Content-Type": "application/octet-stream", "Content-Length": left}
            connection.begin(200, headers)
            while left and not connection.mute:
                piece = file.read(min(left, PIECE_BYTES))
                if not piece:
                    return
                left -= len(piece)
                await connection.send(piece)
        await connection.end()


class StreamResponse:
    """An answer that is written piece by piece; its handler is cancelled when the client leaves."""

    def __init__(self, content_type):
        self.content_type, self.connection = content_type, None

    async def prepare(self, request):
        """Send the head."""
        self._begin(request.connection)
        await self.connection.drain()

    def _begin(self, connection):
        self.connection, connection.begun = connection, self
        connection.begin(200, {"Content-Type": self.content_type})
        connection.cancel_when_lost = True

    async def write(self, data):
        """Send a piece. Errors: ConnectionResetError, the client has left."""
        await self.connection.send(data)

    async def finish(self, connection):
        """Say that this was the end."""
        if self.connection is None:
            self._begin(connection)
        await connection.end()
