"""A debugger's session with one domain, in gdb's remote serial protocol: one vCPU is one thread.

`Session` is fed what gdb sends and calls `send` with what it gets; where that goes is the caller's
business. Source: GDB manual, appendix E.
"""

import asyncio
import contextlib
import logging

from xen.privcmd import HypercallError

from xend import gdbstub_registers as registers
from xend.gdbstub_packets import INTERRUPT, Packets, encode
from xend.gdbstub_target import SIGINT, SIGSEGV, SIGTRAP, Stop

POLL_S = 0.1  # beside VIRQ_DEBUGGER
PACKET_BYTES = 0x4000
BAD_REQUEST, BAD_MEMORY = "E01", "E14"
CRASH_SIGNAL = 6
FEATURES = (
    f"PacketSize={PACKET_BYTES:x};QStartNoAckMode+;qXfer:features:read+;qXfer:threads:read+;"
    "vContSupported+;swbreak+;hwbreak+"
)

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
        name, method = self._find(request)
        if method is None or (self.running and name != "D"):
            return ""
        try:
            answer = method(self, request[len(name) :].decode("latin-1"))
            return await answer if asyncio.iscoroutine(answer) else answer
        except HypercallError as error:
            log.info("debugger: %s", error)
            return BAD_MEMORY
        except (ValueError, IndexError):
            return BAD_REQUEST

    def _find(self, request):
        text = request.decode("latin-1")
        for name, method in _COMMANDS.items():
            if text == name or text.startswith(name) and name not in _WHOLE:
                return name, method
        return "", None

    async def close(self):
        """Let the domain go on when gdb is gone; harmless after `detach` and `kill`."""
        if self.running:
            self.running.cancel()
            self.running = None
        if not self.finished:
            self.finished = True
            if self.how_it_ended() is None:
                with contextlib.suppress(HypercallError):
                    self.target.detach()

    # Stop and go

    def interrupt(self):
        """Stop a running domain, as Ctrl-C in gdb asks for."""
        if self.running:
            self.running.cancel()
            self.running = None
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
        while True:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self.wakeup.wait(), POLL_S)
            self.wakeup.clear()
            if self.how_it_ended() is not None:
                self.running = None
                self._end()
                return
            if self.target.is_stopped() and self._take_stop():
                self.running = None
                return

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
        self.send(encode(self._stop_reply()))

    def _stop_reply(self):
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

    # Requests: each takes the text behind the request's name

    def supported(self, _):
        return FEATURES

    def okay(self, _):
        return "OK"

    def why(self, _):
        return self._stop_reply()

    def current_thread(self, _):
        return f"QC{self.thread + 1:x}"

    def choose_thread(self, text):
        number = int(text[1:], 16)
        if number > 0 and number - 1 not in self.target.vcpus():
            return BAD_REQUEST
        if text[0] == "g" and number > 0:
            self.thread = number - 1
        return "OK"

    def thread_alive(self, text):
        return "OK" if int(text, 16) - 1 in self.target.vcpus() else BAD_REQUEST

    def threads(self, _):
        return "m" + ",".join(f"{vcpu + 1:x}" for vcpu in self.target.vcpus())

    def no_more_threads(self, _):
        return "l"

    def thread_name(self, text):
        return f"vCPU {int(text, 16) - 1}".encode().hex()

    def transfer(self, text):
        """Serve a part of the target description or of the list of threads."""
        name, _, place = text.rpartition(":")
        if name == "features:read:target.xml":
            whole = registers.TARGET_XML
        elif name == "threads:read:":
            rows = (f'<thread id="{v + 1:x}" name="vCPU {v}"/>' for v in self.target.vcpus())
            whole = f'<?xml version="1.0"?><threads>{"".join(rows)}</threads>'
        else:
            return ""
        start, size = (int(number, 16) for number in place.split(","))
        part = whole[start : start + size]
        return ("m" if start + size < len(whole) else "l") + part

    def read_registers(self, _):
        return registers.read_all(self.target.context(self.thread))

    def write_registers(self, text):
        registers.write_all(self.target.context(self.thread), text)
        self.target.set_context(self.thread)
        return "OK"

    def read_register(self, text):
        return registers.read(self.target.context(self.thread), int(text, 16))

    def write_register(self, text):
        number, digits = text.split("=")
        registers.write(self.target.context(self.thread), int(number, 16), digits)
        self.target.set_context(self.thread)
        return "OK"

    def read_memory(self, text):
        address, size = (int(number, 16) for number in text.split(","))
        return self.target.read(address, min(size, PACKET_BYTES // 2)).hex()

    def write_memory(self, text):
        place, digits = text.split(":")
        return self._write(place, bytes.fromhex(digits))

    def write_binary(self, text):
        place, data = text.split(":", 1)
        return self._write(place, data.encode("latin-1"))

    def _write(self, place, data):
        address, size = (int(number, 16) for number in place.split(","))
        if size != len(data):
            return BAD_REQUEST
        self.target.write(address, data)
        return "OK"

    def insert(self, text):
        kind, address, length = (int(number, 16) for number in text.split(";")[0].split(","))
        if kind == 0:
            self.target.insert_breakpoint(address)
            return "OK"
        if kind == 3:
            return ""  # x86 cannot watch reads alone; gdb then watches both
        if not self.target.watchpoints.add(kind, address, length):
            return BAD_REQUEST
        self.target.set_watchpoints()
        return "OK"

    def remove(self, text):
        kind, address, length = (int(number, 16) for number in text.split(","))
        if kind == 0:
            self.target.remove_breakpoint(address)
        else:
            self.target.watchpoints.remove(kind, address, length)
            self.target.set_watchpoints()
        return "OK"

    def resume(self, text):
        """Serve vCont: the first action that fits a thread counts, and the rest stay stopped."""
        actions, default = {}, None
        for part in filter(None, text.split(";")):
            action, _, thread = part.partition(":")
            kind = {"c": "c", "C": "c", "s": "s", "S": "s", "r": "s"}[action[0]]
            number = int(thread, 16) if thread else -1
            if number < 0:
                default = kind
                break
            actions.setdefault(number - 1, kind)
            if action[0] == "r":
                start, end = (int(word, 16) for word in action[1:].split(","))
                self.range = (number - 1, start, end)
        return self.go(actions, default)

    def resume_actions(self, _):
        return "vCont;c;C;s;S;r"

    def detach(self, _):
        if self.running:
            self.running.cancel()
            self.running = None
        self.finished = True
        if self.how_it_ended() is None:
            self.target.detach()
        return "OK"

    async def destroy(self, _):
        self.finished = True
        await self.kill()
        return "OK"

    async def destroy_silently(self, _):
        await self.destroy(_)


_WHOLE = ("qC", "c", "s", "g", "k", "?", "QStartNoAckMode")  # nothing may follow these
# By the start of a request, longer names before shorter ones.
_COMMANDS = {
    "qSupported": Session.supported,
    "QStartNoAckMode": Session.okay,
    "qXfer:": Session.transfer,
    "qfThreadInfo": Session.threads,
    "qsThreadInfo": Session.no_more_threads,
    "qThreadExtraInfo,": Session.thread_name,
    "qAttached": lambda session, _: "1",
    "qSymbol": Session.okay,
    "qC": Session.current_thread,
    "vCont?": Session.resume_actions,
    "vCont": Session.resume,
    "vKill": Session.destroy,
    "?": Session.why,
    "H": Session.choose_thread,
    "T": Session.thread_alive,
    "g": Session.read_registers,
    "G": Session.write_registers,
    "p": Session.read_register,
    "P": Session.write_register,
    "m": Session.read_memory,
    "M": Session.write_memory,
    "X": Session.write_binary,
    "Z": Session.insert,
    "z": Session.remove,
    "c": lambda session, _: session.go({}),
    "s": lambda session, _: session.go({session.thread: "s"}),
    "D": Session.detach,
    "k": Session.destroy_silently,
}
