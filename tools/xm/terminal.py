"""The console of a domain on this terminal.

A terminal is put into raw mode, so that every key reaches the guest; Ctrl-] leaves. Without a
terminal the output is copied, and whatever comes on standard input is typed.
"""

import contextlib
import json
import os
import select
import sys
import termios
import tty

from xm.client import PREFIX, domain_path
from xm.websocket import TEXT, WebSocket, WebSocketError

LEAVE = b"\x1d"


@contextlib.contextmanager
def raw_terminal(fd):
    """Put a terminal into raw mode for a while; does nothing for other files."""
    if not os.isatty(fd):
        yield
        return
    saved = termios.tcgetattr(fd)
    try:
        tty.setraw(fd)
        yield
    finally:
        termios.tcsetattr(fd, termios.TCSADRAIN, saved)


def attach(client, domain, typing=True):
    """Show a domain's console until it ends or the user leaves.

    Returns: how the domain ended, as xend's `Exit`; None if the user left.
    Errors:  XendError.
    """
    path = PREFIX + domain_path(domain, "/console/stream")
    try:
        stream = WebSocket(client.host, client.port, path)
    except (OSError, WebSocketError) as error:
        client.get(domain_path(domain))
        raise client.unreachable(error) from None
    stdin = sys.stdin.fileno() if typing else None
    try:
        with raw_terminal(stdin) if typing else contextlib.nullcontext():
            return _copy(stream, stdin)
    except (OSError, WebSocketError) as error:
        raise client.unreachable(error) from None
    finally:
        stream.close()


def _copy(stream, stdin):
    sources = [stream] if stdin is None else [stream, stdin]
    while True:
        ready = [stream] if stream.pending() else select.select(sources, [], [])[0]
        if stdin in ready:
            data = os.read(stdin, 4096)
            if LEAVE in data:
                return None
            if not data:
                sources.remove(stdin)
            else:
                stream.send(data)
        for message in stream.arrived() if stream in ready else ():
            if message is None:
                return None
            kind, data = message
            if kind == TEXT:
                return json.loads(data)["exit"]
            os.write(1, data)
