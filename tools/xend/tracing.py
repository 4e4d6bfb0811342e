"""Traces of the hypervisor: one at a time, streamed to the client that asked for it.

The reader is a coroutine. It copies what the rings hold, which takes a millisecond or two, whenever
one is half full and twenty times a second, and waits for the client to take it; a client that is
too slow makes the rings run full, and the hypervisor counts what is lost. So a trace costs no more
memory than its rings, and never holds xend up.
"""

import asyncio
import contextlib
import time

import xen_codecs as abi
from xen.tbuf import TraceBuffers

from xend.errors import bad_request, conflict

DEFAULT_PAGES = 256
MOST_PAGES = 2048
MOST_SECONDS = 3600
POLL_S = 0.05


class Tracing:
    """What xend knows of traces."""

    def __init__(self, manager, events):
        self.manager, self.events = manager, events
        self.running = False
        self.last = {"pages": 0, "bytes": 0, "domains": {}}
        self.wake = asyncio.Event()

    def describe(self):
        """Return the state of the trace that runs, or ran last."""
        return {"running": self.running, **self.last}

    def stop(self):
        """End the trace that runs, if one does."""
        self.running = False
        self.wake.set()

    async def record(self, wanted, ready, write):
        """Trace until `stop`, the time wanted, or until `write` fails.

        Args: wanted: from `parse`; ready, write: coroutine functions, to be called once the trace
              runs and with each part of the trace file.
        """
        if self.running:
            raise conflict("trace_runs", "A trace runs already; wait for its end.")
        self.running = True
        port, buffers = None, None
        try:
            buffers = TraceBuffers(self.manager.xc, wanted["pages"])
            self.last = {"pages": buffers.pages, "bytes": 0, "domains": {}}
            port = self.events.bind_virq(abi.VIRQ_TBUF, self.wake.set)
            await self._record(buffers, wanted, ready, write)
        finally:
            self.running = False
            if port is not None:
                self.events.unbind(port)
            if buffers is not None:
                buffers.stop()
                buffers.close()

    async def _record(self, buffers, wanted, ready, write):
        end = time.monotonic() + wanted["seconds"]
        buffers.start(wanted["events"])
        await ready()
        while self.running and time.monotonic() < end:
            await self._wait(min(POLL_S, max(end - time.monotonic(), 0)))
            await self._pass_on(buffers, write)
        for _ in range(2):
            buffers.stop()
            await self._pass_on(buffers, write)

    async def _wait(self, seconds):
        """Wait until a ring is half full, or so long."""
        self.wake.clear()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self.wake.wait(), seconds)

    async def _pass_on(self, buffers, write):
        data = buffers.read()
        self.last["bytes"] += len(data)
        for domain in self.manager.all():
            self.last["domains"][str(domain.domid)] = domain.name()
        if data:
            await write(data)


def parse(request):
    """Return what a client wants of a trace: event mask, pages for each ring, seconds.

    Errors: Refusal.
    """
    known = {"events": (0, abi.TRC_ALL, abi.TRC_ALL), "pages": (1, MOST_PAGES, DEFAULT_PAGES)}
    known["seconds"] = (0, MOST_SECONDS, MOST_SECONDS)
    if not isinstance(request, dict) or set(request) - set(known):
        words = ", ".join(known)
        raise bad_request("bad_trace", f"A trace is described by an object with {words} at most.")
    wanted = {}
    for key, (least, most, default) in known.items():
        value = request.get(key, default)
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        if not is_number or not least <= value <= most:
            raise bad_request("bad_trace", f"'{key}' must be a number from {least} to {most}.")
        wanted[key] = value if key == "seconds" else int(value)
    return wanted
