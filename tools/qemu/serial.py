"""The machine's serial line: a log that only grows, ways to wait for text in it, a way to type.

QEMU's chardev is a "pipe", a pair of files `serial.in` and `serial.out` of which it opens both ends
itself: the first is a named pipe, so writers may come and go; the second a plain file. (A socket
with a log beside it is no good: when the socket is full, QEMU 7.2 logs the character twice.)
"""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")
POLL_S = 0.02
INPUT = "serial.in"
PIECE = 64
ECHO_S = 5  # some of what is typed has no echo
T = TypeVar("T")


class SerialTimeout(Exception):
    """What was waited for did not appear in time."""


class Serial:
    """Reader and writer of one serial line.

    Args:
        folder: the machine's run folder, with serial.log and serial.in.
        check: called while waiting; raises when there is no point in waiting any longer.
    """

    def __init__(self, folder: Path, check: Callable[[], None] = lambda: None) -> None:
        self.folder = folder
        self.log = folder / "serial.log"
        self._check = check

    def make_files(self) -> None:
        """Make what QEMU opens."""
        self.log.touch()
        (self.folder / "serial.out").symlink_to(self.log.name)
        os.mkfifo(self.folder / INPUT)

    def text(self, start: int = 0) -> str:
        """Return the log from a byte position, without terminal codes."""
        if not self.log.exists():
            return ""
        with self.log.open("rb") as file:
            file.seek(start)
            return ANSI.sub("", file.read().decode(errors="replace")).replace("\r", "")

    def position(self) -> int:
        """Return the current length of the log in bytes; for `wait_for(since=...)`."""
        return self.log.stat().st_size if self.log.exists() else 0

    def wait_for(self, pattern: str, timeout: float, since: int | None = None) -> re.Match[str]:
        """Wait until the log matches a regular expression; ^ and $ are ends of lines.

        Args: timeout, s. since, log position in bytes; default the whole log.
        Errors: SerialTimeout, and whatever `check` raises.
        """
        compiled = re.compile(pattern, re.MULTILINE)
        return self.wait_until(compiled.search, timeout, f"{pattern!r}", since)

    def wait_until(
        self, look: Callable[[str], T | None], timeout: float, what: str, since: int | None = None
    ) -> T:
        """Wait until `look`, given the log, returns something that is true; return that.

        Args: what, names it for the error message.
        Errors: as wait_for.
        """
        end = time.monotonic() + timeout
        seen = -1
        while True:
            size = self.position()
            if size != seen:
                seen = size
                if found := look(self.text(since or 0)):
                    return found
            self._check()
            if time.monotonic() > end:
                raise SerialTimeout(f"no {what} within {timeout:.0f} s")
            time.sleep(POLL_S)

    def write(self, text: str) -> None:
        """Type text on the serial line, piece by piece, each after the echo of the one before.

        Xen keeps 128 characters that dom0 has not fetched yet, and drops the rest.
        """
        data = text.encode()
        for start in range(0, len(data), PIECE):
            piece = data[start : start + PIECE]
            before = self.position()
            with (self.folder / INPUT).open("wb", buffering=0) as line:
                line.write(piece)
            end = time.monotonic() + ECHO_S
            while self.position() < before + len(piece) and time.monotonic() < end:
                time.sleep(POLL_S / 10)


class socket_path:  # noqa: N801, used as a function
    """A short path for a socket in a folder of any depth: socket addresses end after 107 bytes."""

    def __init__(self, folder: Path, name: str) -> None:
        self._descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        self._name = name

    def __enter__(self) -> str:
        return f"/proc/self/fd/{self._descriptor}/{self._name}"

    def __exit__(self, *_) -> None:
        os.close(self._descriptor)
