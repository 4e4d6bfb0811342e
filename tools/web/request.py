"""Reads requests: the head, strictly, and the body piece by piece.

Source: RFC 9112. What two readers could understand differently is refused: a body with two lengths,
names of headers with blanks, lines that are folded.
"""

import asyncio
import json
import re
import urllib.parse

from web.errors import HttpError

HEAD_BYTES = 16 << 10
JSON_BYTES = 1 << 20
PIECE_BYTES = 256 << 10
LINE = re.compile(r"([A-Z]+) (\S+) HTTP/(\d)\.(\d)")
HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\r\n\0]*?)[ \t]*")
DIGITS = re.compile(r"[0-9]{1,18}")
HEX = re.compile(rb"([0-9A-Fa-f]{1,15})[ \t]*(;[^\r\n]*)?\r\n")
END = re.compile(rb"\r\n")
LEFT = "the client left amid its request"
BAD_CHUNK = "The body is not in chunks, as its Transfer-Encoding says"


class Request:
    """One request.

    Attributes: method; path, still with %XX; query, {name: last value}; headers, {lower-case name:
    value}; names, what the route's {names} stand for; app, the application.
    """

    def __init__(self, head, connection):
        line, *lines = head.split("\r\n")
        self.connection, self.app, self.names = connection, connection.app, {}
        self.method, target, self.version = _request_line(line)
        self.path, _, query = target.partition("?")
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        self.headers = _headers(lines)
        self.length = _length(self.headers)  # bytes of the body; None: in chunks
        self.body_read = self.length == 0
        self.begun = None  # the answer whose head is sent before its handler has ended

    @property
    def may_continue(self):
        """Tell whether another request may follow on the connection."""
        words = _words(self.headers.get("connection", ""))
        wanted = "close" not in words if self.version >= (1, 1) else "keep-alive" in words
        return wanted and self.body_read

    @property
    def wants_websocket(self):
        """Tell whether the client asks for a WebSocket."""
        return self.headers.get("upgrade", "").lower() == "websocket"

    async def pieces(self):
        """Yield the body, as it comes.

        Errors: ConnectionResetError, the client left; HttpError 400, a chunk is none.
        """
        if self.body_read:
            return
        if self.headers.get("expect", "").lower() == "100-continue":
            self.connection.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        reader = self.connection.reader
        async for piece in _chunks(reader) if self.length is None else _bytes(reader, self.length):
            yield piece
        self.body_read = True

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


def _request_line(line):
    """Return (method, target, (major, minor)). Errors: HttpError 400, 505."""
    match = LINE.fullmatch(line)
    if match is None or not match[2].startswith("/"):
        raise HttpError(400, "The request's first line is not METHOD /path HTTP/1.1")
    if match[3] != "1":
        raise HttpError(505, f"HTTP/{match[3]}.{match[4]} is not spoken here")
    return match[1], match[2], (1, int(match[4]))


def _headers(lines):
    """Return {lower-case name: value}, values of one name joined. Errors: HttpError 400."""
    found = {}
    for line in lines:
        match = HEADER.fullmatch(line)
        if match is None:
            raise HttpError(400, "A header is not NAME: VALUE")
        name = match[1].lower()
        found[name] = f"{found[name]}, {match[2]}" if name in found else match[2]
    return found


def _length(headers):
    """Return the body's length; None for chunks. Errors: HttpError 400, 501."""
    coding, length = headers.get("transfer-encoding"), headers.get("content-length")
    if coding is not None:
        if length is not None:
            raise HttpError(400, "The body has both a Content-Length and a Transfer-Encoding")
        if coding.lower() != "chunked":
            raise HttpError(501, "Of transfer codings only chunked is known")
        return None
    if length is None:
        return 0
    if not DIGITS.fullmatch(length):
        raise HttpError(400, "The Content-Length is not a number")
    return int(length)


def _words(value):
    return [word.strip().lower() for word in value.split(",")]


async def _bytes(reader, length):
    """Yield so many bytes in pieces."""
    while length:
        piece = await reader.read(min(length, PIECE_BYTES))
        if not piece:
            raise ConnectionResetError(LEFT)
        length -= len(piece)
        yield piece


async def _chunks(reader):
    """Yield the pieces of a body in chunks; what follows the last one, trailers, is dropped."""
    while length := int(_matched(HEX, await _line(reader))[1], 16):
        async for piece in _bytes(reader, length):
            yield piece
        _matched(END, await _line(reader))
    while await _line(reader) != b"\r\n":
        pass


async def _line(reader):
    """Return the next line of a body in chunks."""
    try:
        return await reader.readuntil(b"\r\n")
    except asyncio.IncompleteReadError:
        raise ConnectionResetError(LEFT) from None
    except asyncio.LimitOverrunError:
        raise HttpError(400, BAD_CHUNK) from None


def _matched(pattern, line):
    match = pattern.fullmatch(line)
    if match is None:
        raise HttpError(400, BAD_CHUNK)
    return match
