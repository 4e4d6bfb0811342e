"""An asyncio client of xenstored, over its socket.

Requests may be in flight together: replies carry the request's id, and watch events are handed to
the watch's callback by token. Paths and values are text.
"""

import asyncio
import contextlib
import errno
import itertools
import os

import xen_codecs as abi

from xen.xs_wire import Decoder, Packet, error_number, join_strings, split_strings

SOCKET = "/run/xenstored/socket"
TRANSACTION_ATTEMPTS = 50


def store_error(number, path):
    """Return the OSError for a refused request, of the subclass that Python has for its errno."""
    return OSError(number, f"xenstore: {os.strerror(number)}", path)


def writes(nodes):
    """Return the requests of a batch that writes {path: value}."""
    return [
        (abi.XS_WRITE, path.encode() + b"\0" + str(value).encode()) for path, value in nodes.items()
    ]


def owned(path, *perms):
    """Return the requests of a batch that makes a node with permissions, such as "n0", "r5"."""
    strings = (path.encode(), *(perm.encode() for perm in perms))
    return [
        (abi.XS_MKDIR, join_strings(path.encode())),
        (abi.XS_SET_PERMS, join_strings(*strings)),
    ]


def removal(path):
    """Return the requests of a batch that removes a node whose parent exists."""
    return [(abi.XS_RM, join_strings(path.encode()))]


class Xenstore:
    """One connection. Make it with `await Xenstore.connect()`."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer
        self.pending = {}
        self.watchers = {}
        self.ids = itertools.count(1)
        self.receiver = asyncio.ensure_future(self._receive())

    @classmethod
    async def connect(cls, path=SOCKET):
        """Connect to the store's socket."""
        return cls(*await asyncio.open_unix_connection(path))

    async def close(self):
        """End the connection; its watches and transactions go with it."""
        self.receiver.cancel()
        self.writer.close()

    async def _receive(self):
        decoder = Decoder()
        while data := await self.reader.read(65536):
            decoder.feed(data)
            while packet := decoder.next():
                self._dispatch(packet)
        for future in self.pending.values():
            future.set_exception(ConnectionError("xenstored closed the connection"))
        self.pending.clear()

    def _dispatch(self, packet):
        if packet.type == abi.XS_WATCH_EVENT:
            path, token = (part.decode() for part in packet.strings()[:2])
            if handler := self.watchers.get(token):
                handler(path)
        elif (future := self.pending.pop(packet.req_id, None)) and not future.done():
            future.set_result(packet)

    async def request(self, kind, payload, tx_id=0):
        """Send one request and return the payload of its reply.

        Errors: OSError with the errno that the store named.
        """
        (reply,) = await self.batch([(kind, payload)], tx_id)
        return reply

    async def batch(self, requests, tx_id=0):
        """Send many requests at once and return the payloads of their replies.

        Args:   requests: list of (type, payload).
        Errors: OSError with the errno of the first that was refused; the others were done.
        """
        if self.receiver.done():
            raise ConnectionError("xenstored closed the connection")
        new_future = asyncio.get_running_loop().create_future
        data, futures = bytearray(), []
        for kind, payload in requests:
            req_id = next(self.ids) & 0xFFFFFFFF
            futures.append(new_future())
            self.pending[req_id] = futures[-1]
            data += Packet(kind, req_id, tx_id, payload).encode()
        self.writer.write(data)
        replies = [await future for future in futures]
        for reply, (_, payload) in zip(replies, requests, strict=True):
            if reply.type == abi.XS_ERROR:
                path = payload.split(b"\0")[0].decode(errors="replace")
                raise store_error(error_number(reply.payload), path)
        return [reply.payload for reply in replies]

    async def read(self, path, default=None, tx_id=0):
        """Return a node's value, or `default` if there is no such node."""
        try:
            payload = await self.request(abi.XS_READ, join_strings(path.encode()), tx_id)
        except FileNotFoundError:
            return default
        return payload.decode(errors="replace")

    async def write(self, path, value, tx_id=0):
        """Set a node's value, making it and its parents as needed."""
        await self.request(abi.XS_WRITE, path.encode() + b"\0" + str(value).encode(), tx_id)

    async def mkdir(self, path, tx_id=0):
        """Make a node if there is none."""
        await self.request(abi.XS_MKDIR, join_strings(path.encode()), tx_id)

    async def rm(self, path, tx_id=0):
        """Remove a node and all below it; nothing happens if it is not there."""
        with contextlib.suppress(FileNotFoundError):
            await self.request(abi.XS_RM, join_strings(path.encode()), tx_id)

    async def directory(self, path, tx_id=0):
        """Return the names of a node's children; an absent node has none."""
        try:
            payload = await self.request(abi.XS_DIRECTORY, join_strings(path.encode()), tx_id)
        except FileNotFoundError:
            return []
        return [name.decode() for name in split_strings(payload)]

    async def set_perms(self, path, perms, tx_id=0):
        """Set permissions, such as ["n0", "r5"]: the owner first."""
        strings = [path.encode(), *(perm.encode() for perm in perms)]
        await self.request(abi.XS_SET_PERMS, join_strings(*strings), tx_id)

    async def watch(self, path, handler):
        """Call `handler(path)` now and whenever a node there or below changes; returns a token."""
        token = f"w{next(self.ids)}"
        self.watchers[token] = handler
        await self.request(abi.XS_WATCH, join_strings(path.encode(), token.encode()))
        return token

    async def unwatch(self, path, token):
        """Stop a watch."""
        self.watchers.pop(token, None)
        await self.request(abi.XS_UNWATCH, join_strings(path.encode(), token.encode()))

    async def introduce(self, domid, mfn, port):
        """Tell the store of a new domain's ring and event channel."""
        payload = join_strings(*(str(number).encode() for number in (domid, mfn, port)))
        await self.request(abi.XS_INTRODUCE, payload)

    async def release(self, domid):
        """Tell the store that a domain is gone."""
        await self.request(abi.XS_RELEASE, join_strings(str(domid).encode()))

    async def _try(self, change):
        reply = await self.request(abi.XS_TRANSACTION_START, b"\0")
        tx_id = int(reply.rstrip(b"\0"))
        verdict = b"F\0"
        try:
            result = await change(tx_id)
            verdict = b"T\0"
        finally:
            await self.request(abi.XS_TRANSACTION_END, verdict, tx_id)
        return result

    async def atomically(self, change):
        """Run `await change(tx_id)` in a transaction, again while others interfere."""
        for _ in range(TRANSACTION_ATTEMPTS):
            try:
                return await self._try(change)
            except BlockingIOError:
                continue
        raise store_error(errno.EAGAIN, "transaction")

    async def wait_for(self, path, accept, timeout_s):
        """Wait until `accept(value)` holds for a node's value (None if absent); returns that value.

        Errors: asyncio.TimeoutError.
        """
        changed = asyncio.Event()
        token = await self.watch(path, lambda _: changed.set())
        try:
            return await asyncio.wait_for(self._until(path, accept, changed), timeout_s)
        finally:
            await self.unwatch(path, token)

    async def _until(self, path, accept, changed):
        while True:
            await changed.wait()
            changed.clear()
            value = await self.read(path)
            if accept(value):
                return value
