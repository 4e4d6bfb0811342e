"""`xm gdb`: the gdb of this machine, attached to a domain.

xend speaks gdb's protocol over a WebSocket; gdb wants a file or a socket. So a Unix socket in a
folder of our own leads from one to the other while gdb runs. The domain stops when we connect, and
goes on when gdb is gone.
"""

import contextlib
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from xm import kallsyms
from xm.client import LARGE_BYTES, PREFIX, XendError, domain_path
from xm.websocket import WebSocket, WebSocketError

SCRIPTS = Path(__file__).parents[1] / "gdb"  # only on the developer's machine
SETTINGS = """\
set debuginfod enabled off
set remotetimeout 60
set tcp connect-timeout 60
"""


def debug(client, domain, symbols=None, gdb_arguments=()):
    """Run gdb on a domain until its user leaves it.

    Args:    symbols: a kernel file with symbols; None: the one that the domain was made from.
    Returns: gdb's exit status.
    Errors:  XendError, also when xend refuses the debugger or gdb is not installed.
    """
    gdb = shutil.which("gdb")
    if gdb is None:
        raise XendError("gdb is not installed here; install it, as with 'apt install gdb'.")
    if symbols is not None and not os.path.isfile(symbols):
        raise XendError(f"there is no file '{symbols}' with symbols.")
    client.get(domain_path(domain))
    with tempfile.TemporaryDirectory(prefix="xm-gdb-") as folder:
        kernel = symbols or fetch_kernel(client, domain, folder)
        with contextlib.closing(connect(client, domain)) as stream:
            return run_connected(stream, folder, [gdb, "-q", "-nx"], kernel, gdb_arguments)


def run_connected(stream, folder, gdb, kernel, gdb_arguments):
    """Run gdb on a connection to xend; returns its exit status."""
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{folder}/socket")
        listener.listen(1)
        threading.Thread(target=bridge, args=(stream, listener), daemon=True).start()
        return run([*gdb, "-x", write_script(folder, kernel), *gdb_arguments])


def connect(client, domain):
    """Open the debugger's connection, which stops the domain. Errors: XendError."""
    try:
        path = PREFIX + domain_path(domain, "/debugger")
        return WebSocket(client.host, client.port, path)
    except WebSocketError as error:
        raise XendError(str(error)) from None
    except OSError as error:
        raise client.unreachable(error) from None


def fetch_kernel(client, domain, folder):
    """Download the domain's kernel file into a folder, or make one of a stripped Linux's symbols.

    Returns: the path of a file for gdb, None if xend has none.
    """
    try:
        response = client.request("GET", domain_path(domain, "/kernel"))
    except XendError as error:
        say(f"without symbols: {error}")
        return None
    size = int(response.headers.get("Content-Length", 0))
    if size > LARGE_BYTES:
        say(f"fetching the kernel of '{domain}' ({size >> 20} MiB)")
    path = Path(folder, "kernel.elf")
    with path.open("wb") as file:
        shutil.copyfileobj(response, file)
    return kallsyms.file_for_gdb(path, folder)


def say(text):
    """Print a remark, apart from gdb's output."""
    print(f"xm: {text}", file=sys.stderr)


def write_script(folder, kernel):
    """Write the commands with which gdb starts; -x runs it without any safe path."""
    lines = [SETTINGS.rstrip()]
    if (SCRIPTS / "guest.py").exists():
        lines.append(f"source {SCRIPTS / 'guest.py'}")
    if kernel:
        lines.append(f"file {kernel}")
    lines.append(f"target remote {folder}/socket")
    path = os.path.join(folder, "commands")
    Path(path).write_text("\n".join(lines) + "\n")
    return path


def bridge(stream, listener):
    """Carry bytes between gdb's connection and xend's until one of them ends."""
    connection, _ = listener.accept()
    with connection, contextlib.suppress(OSError, WebSocketError):
        while True:
            ready = [stream] if stream.pending() else select.select([stream, connection], [], [])[0]
            if connection in ready:
                data = connection.recv(65536)
                if not data:
                    return
                stream.send(data)
            for message in stream.arrived() if stream in ready else ():
                if message is None:
                    return
                connection.sendall(message[1])


def run(command):
    """Run gdb in the foreground; Ctrl-C is for gdb alone."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        return subprocess.run(
            command, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
        ).returncode
    finally:
        signal.signal(signal.SIGINT, before)
