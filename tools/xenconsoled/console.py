"""One domain's console: its backlog, its log file, and whoever is watching.

The backlog is bounded, and so is the log file, which is moved to `.1` when it is full. The console
outlives its domain: after `detach` the text stays readable and subscribers are told of the end.
"""

import asyncio
import os

BACKLOG_BYTES = 256 * 1024
LOG_BYTES = 4 << 20
INPUT_BYTES = 64 * 1024
QUEUE_MAX = 1024


class Console:
    """Text of one domain. `log_path` is where it is also written."""

    def __init__(self, log_path):
        self.log_path = log_path
        self.backlog = bytearray()
        self.subscribers = set()
        self.pending_input = bytearray()
        self.ring = self.notify = None
        self.ended = False
        self.log = open(log_path, "ab", buffering=0)  # noqa: SIM115, closed by end()

    def restore(self):
        """Refill the backlog from the log file, after xend was started again."""
        with open(self.log_path, "rb") as file:
            file.seek(max(0, os.path.getsize(self.log_path) - BACKLOG_BYTES))
            self.backlog[:] = file.read()

    def attach(self, ring, notify):
        """Start serving a guest's ring; `notify()` signals the guest."""
        self.ring, self.notify = ring, notify

    def detach(self):
        """Take the last output and let go of the ring."""
        if self.ring:
            self.pump()
            self.ring.close()
            self.ring = self.notify = None

    def end(self):
        """Tell subscribers that nothing more will come; harmless when repeated."""
        if self.ended:
            return
        self.detach()
        self.ended = True
        for queue in self.subscribers:
            queue.put_nowait(None)
        self.log.close()

    def pump(self):
        """Move output and input; called for each event of the guest."""
        if self.ring is None or self.ended:
            return
        output = self.ring.read()
        moved = bool(output)
        if output:
            self.record(output)
        if self.pending_input:
            count = self.ring.write(bytes(self.pending_input))
            del self.pending_input[:count]
            moved |= count > 0
        if moved:
            self.notify()

    def type(self, data):
        """Queue input for the guest; what exceeds a generous bound is dropped."""
        room = INPUT_BYTES - len(self.pending_input)
        self.pending_input += data[:room]
        self.pump()

    def record(self, data):
        """Add output to the backlog and the log, and hand it to all who watch and keep up."""
        self.backlog += data
        if len(self.backlog) > BACKLOG_BYTES:
            del self.backlog[: len(self.backlog) - BACKLOG_BYTES]
        self._log(data)
        for queue in self.subscribers:
            if queue.qsize() < QUEUE_MAX:
                queue.put_nowait(data)

    def _log(self, data):
        if self.log.tell() > LOG_BYTES:
            self.log.close()
            os.replace(self.log_path, self.log_path + ".1")
            self.log = open(self.log_path, "ab", buffering=0)  # noqa: SIM115
        self.log.write(data)

    def subscribe(self):
        """Return a queue that gets the backlog, then all new output, then None at the end."""
        queue = asyncio.Queue()
        if self.backlog:
            queue.put_nowait(bytes(self.backlog))
        if self.ended:
            queue.put_nowait(None)
        self.subscribers.add(queue)
        return queue

    def unsubscribe(self, queue):
        """Stop handing output to a queue."""
        self.subscribers.discard(queue)
