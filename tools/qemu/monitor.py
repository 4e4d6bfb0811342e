"""QEMU's control channel (QMP), for callers that are not asynchronous.

qemu.qmp speaks asyncio; its loop runs in a thread of its own here.
"""

import asyncio
import contextlib
import threading
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, QMPError

from tools.qemu.serial import socket_path
from tools.setup.patience import PATIENCE_S


class Monitor:
    """A QMP connection to one machine."""

    def __init__(self, folder: Path) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        self._client = QMPClient(folder.name)
        try:
            with socket_path(folder, "qmp.sock") as path:
                self._wait(self._client.connect(path))
        except BaseException:
            self._end_loop()
            raise

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run a QMP command.

        Returns: its result.
        Errors: qemu.qmp.ExecuteError, QEMU refused; TimeoutError, it is not answering.
        """
        return self._wait(self._client.execute(command, arguments or None))

    def human(self, command: str, cpu: int = 0) -> str:
        """Run a command of the human monitor, as a processor sees memory, and return its text."""
        words = {"command-line": command, "cpu-index": cpu}
        return self.execute("human-monitor-command", **words)

    def status(self) -> str:
        """Return the run state, such as "running", "shutdown" or "guest-panicked"."""
        return self.execute("query-status")["status"]

    def close(self) -> None:
        """Let go of the connection. QEMU may have closed it already, which is no error."""
        with contextlib.suppress(QMPError, EOFError, OSError, TimeoutError):
            self._wait(self._client.disconnect())
        self._end_loop()

    def quit(self) -> None:
        """End QEMU."""
        with contextlib.suppress(QMPError, EOFError, OSError, TimeoutError):
            self.execute("quit")
        self.close()

    def _end_loop(self) -> None:
        """End the thread, and close the loop: left open, it complains as Python ends."""
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(timeout=PATIENCE_S)
        self._loop.close()

    def _wait(self, coroutine) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(PATIENCE_S)
