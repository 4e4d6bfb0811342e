"""What a client asks for: the head, as h11 understood it, and the body piece by piece."""

import json
import urllib.parse

import h11

from web.errors import HttpError, reason_of

JSON_BYTES = 1 << 20
LENGTH, CODING = b"content-length", b"transfer-encoding"


class Request:
    """One request.

    Attributes: method; target, and of it path, still with %XX, and query, {name: last value};
    headers, [(lower-case name, value)] in bytes; names, what the route's {names} stand for; app,
    the application.
    """

    def __init__(self, event, connection):
        self.connection, self.app, self.names = connection, connection.app, {}
        self.method, self.target = event.method.decode(), event.target.decode()
        self.headers = list(event.headers)
        self.path, _, query = self.target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))

    def __str__(self):
        return f"{self.method} {self.path}"

    async def pieces(self):
        """Yield the body, as it comes.

        Errors: ConnectionResetError, the client left; HttpError, what came is no body.
        """
        protocol = self.connection.protocol
        if protocol.they_are_waiting_for_100_continue:
            go = h11.InformationalResponse(status_code=100, headers=[], reason=reason_of(100))
            self.connection.writer.write(protocol.send(go))
        while not self.connection.body_read:
            event = await self.connection.receive()
            if isinstance(event, h11.Data):
                yield event.data

    async def read(self, limit=JSON_BYTES):
        """Return the body. Errors: HttpError 413, it is larger than `limit` bytes."""
        body = bytearray()
        async for piece in self.pieces():
            body += piece
            if len(body) > limit:
                raise HttpError(413, f"The body has more than {limit} bytes")
        return bytes(body)

    async def json(self):
        """Return the body's JSON. Errors: ValueError, it is none; HttpError 413, it is too long."""
        return json.loads(await self.read())

    def web_socket(self, **options):
        """Answer that this is a WebSocket from now on; returns it.

        Errors: HttpError 400, 426, the client asks for none.
        """
        # Imported when it is first needed: a boot goes without.
        from web.websocket import WebSocket

        return WebSocket(self, **options)


def check(event):
    """Refuse what h11 takes and nobody honest sends.

    Errors: HttpError 400, 505.
    """
    if not event.http_version.startswith(b"1."):
        raise HttpError(505, "Only HTTP/1.1 is spoken here")
    if not event.target.startswith(b"/"):
        raise HttpError(400, "The request is for no /path")
    if {LENGTH, CODING} <= {name for name, _ in event.headers}:  # two readers, two meanings
        raise HttpError(400, "The body has both a Content-Length and a Transfer-Encoding")


def has_body(event):
    """Tell whether a request comes with a body."""
    return any(name in (LENGTH, CODING) and value != b"0" for name, value in event.headers)
