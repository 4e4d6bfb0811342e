"""A debugger's session with one domain, in gdb's remote serial protocol: one vCPU is one thread.

`Session` is fed what gdb sends and calls `send` with what it gets; where that goes is the caller's
business. Source: GDB manual, appendix E.
"""

import asyncio
import contextlib
import logging

from xen.privcmd import HypercallError

from xend.gdbstub_packets import INTERRUPT, Packets, encode
from xend.gdbstub_requests import BAD_REQUEST, find_request
from xend.gdbstub_target import SIGINT, SIGSEGV, SIGTRAP, Stop

POLL_S = 0.1  # beside VIRQ_DEBUGGER
BAD_MEMORY = "E14"
CRASH_SIGNAL = 6

log = logging.getLogger("xend")


class Session:
    """One gdb and its domain.

    Args: target: a Target, attached; send: takes bytes for gdb; kill: a coroutine function that
          destroys the domain; how_it_ended: returns the domain's exit record, None while it lives.
    """

    def __init__(self, target, send, kill, how_it_ended):
        self.target, self.send, self.kill = target, send, kill
        self.how_it_ended = how_it_ended
        self.packets = Packets()
        self.thread = 0  # vCPU that registers are read from
        self.running = None  # the task that waits for the domain to stop
        self.wakeup = asyncio.Event()
        self.range = None  # (vCPU, start, end) while stepping out of a range of addresses
        self.last = Stop(SIGTRAP, 0)
        self.finished = False

    async def feed(self, data):
        """Serve what gdb sent."""
        requests, acknowledgement = self.packets.feed(data)
        if acknowledgement:
            self.send(acknowledgement)
        for request in requests:
            if request is INTERRUPT:
                self.interrupt()
                continue
            answer = await self._answer(request)
            if answer is not None:
                self.send(encode(answer))
            if request == b"QStartNoAckMode":
                self.packets.acks = False

    async def _answer(self, request):
        """Return the answer to a request, None when it comes later; "" means unsupported."""
        text = request.decode("latin-1")
        name, serve = find_request(text)
        if serve is None or (self.running and name != "D"):
            return ""
        try:
            answer = serve(self, text[len(name) :])
            return await answer if asyncio.iscoroutine(answer) else answer
        except HypercallError as error:
            log.info("debugger: %s", error)
            return BAD_MEMORY
        except (ValueError, LookupError):
            return BAD_REQUEST

    async def close(self):
        """Let the domain go on when gdb is gone; harmless after `detach` and `destroy`."""
        if not self.finished:
            self.detach()

    def detach(self):
        """Let go of the domain. Errors: HypercallError."""
        self._stop_waiting()
        self.finished = True
        if self.how_it_ended() is None:
            self.target.detach()

    async def destroy(self):
        """Kill the domain."""
        self.finished = True
        await self.kill()

    def _stop_waiting(self):
        """End the wait for the domain to stop, if there is one; returns whether there was."""
        running, self.running = self.running, None
        if running:
            running.cancel()
        return running is not None

    # Stop and go

    def interrupt(self):
        """Stop a running domain, as Ctrl-C in gdb asks for."""
        if self._stop_waiting():
            stops = [stop for stop in self.target.stop() if stop is not None]
            self._report(stops[0] if stops else Stop(SIGINT, self.thread))

    def go(self, actions, default="c"):
        """Let vCPUs run, and wait for them in the background."""
        if self.how_it_ended() is not None:
            return self._exit_status()
        self.target.resume(actions, default)
        self.wakeup.clear()
        self.running = asyncio.ensure_future(self._wait())
        return None

    async def _wait(self):
        """Wait until a trap stops the domain or it ends, and report it."""
        try:
            while not self._look():
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(self.wakeup.wait(), POLL_S)
                self.wakeup.clear()
        except HypercallError as error:
            log.warning("debugger: %s", error)
            self.send(encode(BAD_MEMORY))
        self.running = None

    def _look(self):
        """See how the domain is doing; returns whether gdb was told that it doesn't run."""
        if self.how_it_ended() is not None:
            self._end()
            return True
        return self.target.is_stopped() and self._take_stop()

    def _take_stop(self):
        """Look why the domain is paused; returns False when it goes on stepping."""
        stops = self.target.stop() or [Stop(SIGTRAP, self.thread)]
        wanted = [stop for stop in stops if stop is not None]
        if not wanted or self._is_within_range(wanted):
            self.target.resume_again()
            return False
        self._report(wanted[0])
        return True

    def _is_within_range(self, stops):
        """Say whether a vCPU that steps out of a range of addresses has not come to its end."""
        if self.range is None or not all(stop.is_step for stop in stops):
            return False
        vcpu, start, end = self.range
        return start <= self.target.context(vcpu).user_regs.rip < end

    def _report(self, stop):
        self.range, self.last = None, stop
        self.thread = stop.vcpu
        self.send(encode(self.stop_reply()))

    def stop_reply(self):
        """Return what gdb is told of the last stop."""
        stop = self.last
        return f"T{stop.signal:02x}{stop.detail}thread:{stop.vcpu + 1:x};"

    def _end(self):
        """Tell gdb that the domain ended; one that crashed is kept for it to look at."""
        if self.how_it_ended()["reason"] == "crash" and self.last.signal != SIGSEGV:
            stops = self.target.stop()
            self._report(stops[0] if stops else Stop(SIGSEGV, self.thread))
        else:
            self.finished = True
            self.send(encode(self._exit_status()))

    def _exit_status(self):
        ended = self.how_it_ended()
        if ended["reason"] == "crash":
            return f"X{CRASH_SIGNAL:02x}"
        return f"W{ended['code'] & 0xFF:02x}"
