"""One client: a task that reads a request, runs its handler, and sends the answer, and so on.

h11 says what the bytes mean and whether another request may follow. A client that leaves while its
answer is being streamed has its handler cancelled; any other handler runs to its end, for what it
does is not undone by a lost answer.
"""

import asyncio
import logging

import h11

from web.errors import HttpError, reason_of
from web.messages import Response
from web.request import Request, check, has_body

IDLE_S = 75  # how long a connection may wait for its next request
LINGER_S = 10  # how long a client may take to read the last answer
HEAD_BYTES = 16 << 10
HEAD_PIECE = 1 << 10  # so much is read at once of a head; by so much it may exceed its limit
BODY_PIECE = 64 << 10
READ = (h11.DONE, h11.MUST_CLOSE, h11.MIGHT_SWITCH_PROTOCOL)

log = logging.getLogger("web")


class Connection(asyncio.StreamReaderProtocol):
    """One client.

    Attributes: protocol, h11's; begun, the answer whose head was sent before its handler ended;
    mute, the request wants no body in its answer; cancel_when_lost, the handler is of no use
    without the client.
    """

    def __init__(self, server):
        self.server, self.app = server, server.app
        self.reader, self.writer, self.task = asyncio.StreamReader(limit=BODY_PIECE), None, None
        self.protocol = h11.Connection(h11.SERVER, HEAD_BYTES)
        self.lost, self.dropping = asyncio.Event(), False
        self.request, self.begun, self.mute, self.cancel_when_lost = None, None, False, False
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

    @property
    def body_read(self):
        """Tell whether the whole request has come."""
        return self.protocol.their_state in READ

    async def receive(self):
        """Return what h11 makes of the client's next bytes.

        Errors: HttpError, nothing; ConnectionResetError, the client has left amid it.
        """
        size = HEAD_PIECE if self.protocol.their_state is h11.IDLE else BODY_PIECE
        try:
            while (event := self.protocol.next_event()) is h11.NEED_DATA:
                if not (data := await self.reader.read(size)):
                    raise ConnectionResetError("the client left amid its request")
                self.protocol.receive_data(data)
        except h11.RemoteProtocolError as error:
            raise HttpError(error.error_status_hint, str(error)) from None
        except ValueError:  # h11 0.14 at a Content-Length of more digits than int() takes
            raise HttpError(400, "The Content-Length is no number") from None
        return event

    def begin(self, status, headers):
        """Send an answer's head."""
        if not self.body_read:  # nobody knows where the next request would begin
            headers = headers | {"Connection": "close"}
        fields = [(name, str(value)) for name, value in headers.items()]
        self._write(h11.Response(status_code=status, reason=reason_of(status), headers=fields))

    async def send(self, data):
        """Send a piece of an answer's body. Errors: ConnectionResetError, the client has left."""
        if data and not self.mute:
            self._write(h11.Data(data=data))
        await self.drain()

    async def end(self):
        """Send the end of an answer."""
        self._write(h11.EndOfMessage())
        await self.drain()

    async def drain(self):
        """Wait until the client takes what it is sent."""
        await self.writer.drain()

    def _write(self, event):
        self.writer.write(self.protocol.send(event))

    async def _serve(self, _, writer):
        """Answer requests until one of the sides has enough."""
        self.writer, self.task = writer, asyncio.current_task()
        self.server.connections.add(self)
        try:
            while await self._next():
                self.protocol.start_next_cycle()
            self.cancel_when_lost = False
            await self._linger()
        except (asyncio.CancelledError, TimeoutError, ConnectionError):
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
        self.request, self.begun, self.mute = None, None, False
        try:
            answer = await self._answer()
            if self.begun not in (None, answer):  # an error amid a stream, which cannot be said
                return False
            await answer.finish(self)
        except (ConnectionError, TimeoutError):
            return False
        except Exception:
            log.exception("%s", self.request)
            return False
        self.cancel_when_lost = False
        return set(self.protocol.states.values()) == {h11.DONE}

    async def _answer(self):
        """Return the answer to the next request.

        Errors: TimeoutError, ConnectionResetError, there is none.
        """
        try:
            async with asyncio.timeout(IDLE_S):
                event = await self.receive()
            self.mute = event.method == b"HEAD"
            check(event)
        except HttpError as error:
            return Response(f"{error}.\n", status=error.status)
        if not has_body(event):
            self.protocol.next_event()  # its end
        self.request = Request(event, self)
        return await self.app.answer(self.request)
