"""Serves connections: one task each, which reads a request, runs its handler, and sends the answer.

A client that leaves while its answer is being streamed has its handler cancelled; any other handler
runs to its end, for what it does is not undone by a lost answer.
"""

import asyncio
import logging

from web.errors import HttpError
from web.messages import head
from web.request import HEAD_BYTES, Request
from web.websocket import WebSocket

IDLE_S = 75  # how long a connection may wait for its next request
LINGER_S = 10  # how long a client may take to read the last answer

log = logging.getLogger("web")
GONE = (ConnectionError, asyncio.IncompleteReadError)


class App:
    """What a server serves.

    Args: routes; around: a coroutine function (request, handler) that calls the handler and turns
          what it raises into answers; it also gets the HttpError of a request without a handler.
    """

    def __init__(self, routes, around):
        self.routes, self.around = routes, around
        self.state = {}

    def __getitem__(self, name):
        return self.state[name]

    def __setitem__(self, name, value):
        self.state[name] = value

    async def answer(self, request):
        """Return the answer to a request."""

        async def handle(request):
            handler, request.names = self.routes.find(request.method, request.path)
            return await handler(request)

        return await self.around(request, handle)


class Server:
    """Connections of one app."""

    def __init__(self, app):
        self.app = app
        self.listeners, self.connections = [], set()

    async def listen(self, sock):
        """Serve what connects to a bound socket."""
        loop = asyncio.get_running_loop()
        self.listeners.append(await loop.create_server(lambda: Connection(self), sock=sock))

    async def close(self):
        """Stop listening, and end all connections."""
        for listener in self.listeners:
            listener.close()
        tasks = [connection.task for connection in self.connections if connection.task]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class Connection(asyncio.StreamReaderProtocol):
    """One client."""

    def __init__(self, server):
        self.server, self.app = server, server.app
        self.reader, self.writer, self.task = asyncio.StreamReader(limit=HEAD_BYTES), None, None
        self.lost, self.dropping = asyncio.Event(), False
        self.cancel_when_lost = False
        super().__init__(self.reader, self._serve)

    def data_received(self, data):
        """Take what the client sends, unless nothing of it matters any more."""
        if not self.dropping:
            super().data_received(data)

    def eof_received(self):
        """The client has closed its side: it is gone, and asyncio closes ours."""
        super().eof_received()
        return False

    def connection_lost(self, exc):
        """Cancel a handler whose answer nobody reads any more."""
        super().connection_lost(exc)
        self.lost.set()
        if self.cancel_when_lost:
            self.task.cancel()

    async def _serve(self, _, writer):
        """Answer requests until one of the sides has enough."""
        self.writer, self.task = writer, asyncio.current_task()
        self.server.connections.add(self)
        try:
            while await self._next():
                pass
            self.cancel_when_lost = False
            await self._linger()
        except (asyncio.CancelledError, TimeoutError, *GONE):
            pass
        finally:
            self.server.connections.discard(self)
            writer.close()

    async def _linger(self):
        """Let the client read the last answer: to close while it still sends would destroy it."""
        self.dropping = True
        self.writer.write_eof()
        self.writer.transport.resume_reading()
        async with asyncio.timeout(LINGER_S):
            await self.lost.wait()

    async def _next(self):
        """Answer one request; returns whether another may follow."""
        try:
            request = await self._read_request()
        except HttpError as error:  # nobody knows where the next request would begin
            self.writer.write(head(error.status, {"Content-Type": "text/plain"}, keeps=False))
            self.writer.write(f"{error}.\n".encode())
            return False
        if request is None:
            return False
        try:
            return await self._answer(request)
        except GONE:
            return False
        except Exception:
            log.exception("%s %s", request.method, request.path)
            return False

    async def _answer(self, request):
        """Run the handler and send its answer; returns whether another request may follow."""
        answer = await self.app.answer(request)
        if request.begun not in (None, answer):  # an error amid a stream, which cannot be said
            return False
        if not isinstance(answer, WebSocket):
            await answer.send(request)
        self.cancel_when_lost = False
        return answer.keeps

    async def _read_request(self):
        """Return the next request, or None where the client has no more.

        Errors: HttpError, what came is none.
        """
        try:
            async with asyncio.timeout(IDLE_S):
                text = await self.reader.readuntil(b"\r\n\r\n")
        except (TimeoutError, *GONE):
            return None
        except asyncio.LimitOverrunError:
            raise HttpError(431, f"The request's head has more than {HEAD_BYTES} bytes") from None
        return Request(text[:-4].decode("latin-1"), self)
