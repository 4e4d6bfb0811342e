"""A small HTTP/1.1 server on asyncio, for daemons in dom0: routes, JSON, streams, WebSockets.

The protocols are h11's and wsproto's: no byte of a client is parsed here. What is ours is what they
leave open: how much a client may send, when its handler ends, how a connection closes. A whole
framework would cost dom0 at each boot what the rest of the toolstack does.
"""

from web.errors import HttpError
from web.messages import FileResponse, Response, StreamResponse, json_response
from web.routes import Routes
from web.server import App, Server

__all__ = [
    "App",
    "FileResponse",
    "HttpError",
    "Response",
    "Routes",
    "Server",
    "StreamResponse",
    "json_response",
]
