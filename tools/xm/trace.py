"""`xm trace`: record what the hypervisor does, and write it down for people.

xend streams the trace while it runs; it goes to temporary files here. Afterwards it is read in
order of time and written, so neither side needs memory for it.
"""

import json
import os
import subprocess
import sys
import threading
import time

from xm.client import XendError

DEFAULT_FILE = "trace.json"
READ_BYTES = 1 << 16
PAGES_PER_MIB = 256


def run(client, arguments, say):
    """Record and write a trace.

    Returns: the exit code, of the command if there was one.
    """
    from xentrace import events

    chosen = events_wanted(arguments.events)
    recording = Recording(client, events.mask_of(chosen), arguments)
    try:
        code = record(recording, arguments, say)
        write(client, recording, chosen, arguments, say)
    finally:
        recording.spool.close()
    return code


def events_wanted(text):
    """Return the categories that a user names, all if none. Errors: XendError."""
    from xentrace.events import CATEGORIES

    wanted = text.split(",") if text else list(CATEGORIES)
    for category in wanted:
        if category not in CATEGORIES:
            known = ", ".join(CATEGORIES)
            raise XendError(f"there are no events '{category}'; name some of {known}.")
    return wanted


class Recording:
    """A trace under way: a thread feeds the spool from xend's stream."""

    def __init__(self, client, mask, arguments):
        from xentrace.records import Spool

        self.client, self.spool, self.error = client, Spool(), None
        pages = max(1, int(arguments.size * PAGES_PER_MIB))
        request = {"events": mask, "pages": pages}
        if arguments.duration is not None and not arguments.command:
            request["seconds"] = arguments.duration
        headers = {"Content-Type": "application/json"}
        body = json.dumps(request).encode()
        self.stream = client.request("POST", "/trace", body, headers)
        self.thread = threading.Thread(target=self._receive, daemon=True)
        self.thread.start()

    def _receive(self):
        try:
            while data := self.stream.read1(READ_BYTES):
                self.spool.feed(data)
        except Exception as error:  # shown by `finish`, in the thread that people talk to
            self.error = error

    def is_alive(self):
        """Say whether the trace still runs."""
        return self.thread.is_alive()

    def finish(self, stop):
        """Wait for the rest of the trace, after asking xend to stop it if need be.

        Errors: XendError.
        """
        if stop and self.is_alive():
            self.client.delete("/trace")
        self.thread.join()
        if self.error is not None:
            raise XendError(f"the trace broke off: {self.error}.")


def record(recording, arguments, say):
    """Let the trace run as long as it shall, with a line of progress. Returns: the exit code."""
    if arguments.command:
        try:
            code = subprocess.call(arguments.command)
        except OSError as error:
            recording.finish(stop=True)
            raise XendError(f"cannot run '{arguments.command[0]}': {error.strerror}.") from None
        recording.finish(stop=True)
        return code
    if arguments.duration is None:
        say("Tracing; Ctrl-C ends the trace.")
    start = time.monotonic()
    try:
        while recording.is_alive():
            recording.thread.join(0.2)
            progress(recording, time.monotonic() - start)
    except KeyboardInterrupt:
        pass
    progress(None, 0)
    recording.finish(stop=True)
    return 0


def progress(recording, seconds):
    """Show on a terminal how far the trace is; None wipes that away."""
    if sys.stderr.isatty():
        mib = recording.spool.nr_bytes / 2**20 if recording else 0
        line = f"\rtracing: {seconds:.0f} s, {mib:.1f} MiB" if recording else "\r" + " " * 40 + "\r"
        print(line, end="", file=sys.stderr, flush=True)


def write(client, recording, categories, arguments, say):
    """Write the trace in the form asked for."""
    from xentrace.state import Filter, Names, follow

    names = Names(client.get("/trace")["domains"])
    chosen = Filter(categories, domain_id(names, arguments.domain))
    followed = follow(recording.spool, client.get("/host")["cpu_khz"])
    if arguments.summary:
        from xentrace.summary import Summary

        summary = Summary()
        summary.count(followed, chosen)
        summary.write(sys.stdout, names)
        return
    to_file(followed, chosen, names, arguments, say)


def to_file(followed, chosen, names, arguments, say):
    """Write text or Chrome's format to the file, and say where it is."""
    from xentrace import chrome, text

    path = arguments.output or ("-" if arguments.text else DEFAULT_FILE)
    try:
        out = sys.stdout if path == "-" else open(path, "w", encoding="utf-8")  # noqa: SIM115
    except OSError as error:
        raise XendError(f"cannot write '{path}': {error.strerror}.") from None
    try:
        if arguments.text:
            text.write(out, followed, chosen, names)
        else:
            lost = chrome.ChromeWriter(out, names).write(followed, chosen)
    finally:
        if out is not sys.stdout:
            out.close()
    if not arguments.text and path != "-":
        size = os.path.getsize(path) / 2**20
        say(f"{path}: {size:.1f} MiB; open it with https://ui.perfetto.dev or chrome://tracing.")
        if lost:
            say(f"{lost} records were LOST: trace fewer --events, or give more --size.")


def domain_id(names, wanted):
    """Return the id of a domain that a user named by id or name. Errors: XendError."""
    if wanted is None or wanted.isdigit():
        return None if wanted is None else int(wanted)
    for number, name in names.domains.items():
        if name == wanted:
            return int(number)
    raise XendError(f"no domain '{wanted}' lived during the trace.")
