"""A guest's connection: the shared page with two 1 KiB rings, and its event channel.

The guest owns the page and may write anything to it at any time, so each index is read once and
checked; one that makes no sense ends the connection, with the reason in the page's `error` field.
Replies that find no room wait here, and while many do, no more requests are taken, so a guest that
never reads cannot fill our memory.
"""

import logging
from collections import deque

import xen_codecs as abi
from xen.xs_wire import Decoder, ProtocolError

RING_BYTES = abi.XENSTORE_RING_SIZE
QUEUE_MAX = 256
REQUESTS_AT_ONCE = 32

_FIELD = abi.xenstore_domain_interface
_REQ, _RSP = _FIELD.req.offset, _FIELD.rsp.offset
_REQ_CONS, _REQ_PROD = _FIELD.req_cons.offset // 4, _FIELD.req_prod.offset // 4
_RSP_CONS, _RSP_PROD = _FIELD.rsp_cons.offset // 4, _FIELD.rsp_prod.offset // 4
_ERROR = _FIELD.error.offset // 4

log = logging.getLogger("xenstored")


class Ring:
    """Bytes in and out of a shared page. `page` is a memoryview of 4096 bytes."""

    def __init__(self, page):
        self.page = page
        self.words = page.cast("I")

    def read(self):
        """Take all request bytes. Errors: ProtocolError, a wild index."""
        start, end = self.words[_REQ_CONS], self.words[_REQ_PROD]
        count = self._distance(start, end)
        data = self._copy_out(_REQ, start % RING_BYTES, count)
        self.words[_REQ_CONS] = (start + count) & 0xFFFFFFFF
        return data

    def _copy_out(self, base, offset, count):
        first = min(count, RING_BYTES - offset)
        head = bytes(self.page[base + offset : base + offset + first])
        return head + bytes(self.page[base : base + count - first])

    def write(self, data):
        """Put as many reply bytes as fit; returns how many. Errors: ProtocolError."""
        start = self.words[_RSP_PROD]
        room = RING_BYTES - self._distance(self.words[_RSP_CONS], start)
        count = min(room, len(data))
        offset = start % RING_BYTES
        first = min(count, RING_BYTES - offset)
        self.page[_RSP + offset : _RSP + offset + first] = data[:first]
        self.page[_RSP : _RSP + count - first] = data[first:count]
        self.words[_RSP_PROD] = (start + count) & 0xFFFFFFFF
        return count

    def fail(self, reason):
        """Leave a reason for the guest."""
        self.words[_ERROR] = reason

    @staticmethod
    def _distance(start, end):
        distance = (end - start) & 0xFFFFFFFF
        if distance > RING_BYTES:
            raise ProtocolError(f"ring indices {start} and {end}")
        return distance


class RingConnection:
    """A guest's session over its ring. `notify()` signals the guest; `loop` runs what must wait."""

    def __init__(self, page, notify, loop):
        self.ring = Ring(page)
        self.notify, self.loop = notify, loop
        self.decoder = Decoder()
        self.queue = deque()
        self.session = None
        self.broken = False
        self.scheduled = False

    def send(self, packet):
        """Queue a packet for the guest; called by the session, be it for another client's doing."""
        data = packet.encode()
        if packet.type == abi.XS_WATCH_EVENT and self._needless(data):
            return
        self.queue.append(data)
        if not self.scheduled:
            self.scheduled = True
            self.loop.call_soon(self.run)

    def _needless(self, event):
        """An event that is still queued need not be queued twice; a guest that never reads loses
        events.
        """
        return event in self.queue or (self.session.domid and len(self.queue) > QUEUE_MAX)

    def run(self):
        """Serve the guest: called for each event, and whenever there may be something to send."""
        self.scheduled = False
        if self.broken:
            return
        try:
            moved = self._flush()
            moved |= self._receive()
            moved |= self._flush()
        except ProtocolError as error:
            self.broken = True
            self.ring.fail(abi.XENSTORE_ERROR_RINGIDX)
            log.warning("domain %d: closing its connection: %s", self.session.domid, error)
            return
        if moved:
            self.notify()

    def _receive(self):
        """Handle some requests; the ring is read only when all that came before is done."""
        moved = False
        for _ in range(REQUESTS_AT_ONCE):
            if len(self.queue) > QUEUE_MAX:
                return moved
            packet = self.decoder.next()
            if packet:
                self.session.handle(packet)
                continue
            data = self.ring.read()
            if not data:
                return moved
            self.decoder.feed(data)
            moved = True
        self.loop.call_soon(self.run)
        return moved

    def _flush(self):
        moved = False
        while self.queue:
            count = self.ring.write(self.queue[0])
            moved |= count > 0
            if count < len(self.queue[0]):
                self.queue[0] = self.queue[0][count:]
                break
            self.queue.popleft()
        return moved
