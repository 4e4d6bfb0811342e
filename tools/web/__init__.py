"""A small HTTP/1.1 server on asyncio, for daemons in dom0: routes, JSON, streams, WebSockets.

It is a package of ours because dom0 starts it at each boot: a framework's imports took longer than
the whole rest of the toolstack, and each release of Debian has another one.
"""

from web.errors import HttpError
from web.messages import FileResponse, Response, StreamResponse, json_response
from web.routes import Routes
from web.server import App, Server
from web.websocket import BINARY, TEXT, WebSocket

__all__ = [
    "BINARY",
    "TEXT",
    "App",
    "FileResponse",
    "HttpError",
    "Response",
    "Routes",
    "Server",
    "StreamResponse",
    "WebSocket",
    "json_response",
]
