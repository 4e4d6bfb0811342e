"""What downloaders share: what is wanted, how it may fail, and the one line that tells progress."""

import hashlib
import threading
import time
from dataclasses import dataclass
from pathlib import Path

from tools.setup.progress import say

EVERY_S = 3
MIB = 1 << 20


@dataclass(frozen=True)
class Wanted:
    """A file to fetch; size and sha256 are None for a signed file, which proves itself."""

    url: str
    target: Path
    size: int | None = None
    sha256: str | None = None


class FetchError(Exception):
    """A file could not be had; the text is the reason, for the end of a sentence."""


class Gone(FetchError):
    """The mirror answers, and has no such file."""


Outcomes = dict[Wanted, FetchError | None]


def is_whole(wanted: Wanted, file: Path) -> bool:
    """Tell whether a file has the wanted contents."""
    if wanted.sha256 is None:
        return True
    with file.open("rb") as contents:
        return hashlib.file_digest(contents, "sha256").hexdigest() == wanted.sha256


class Progress:
    """Counts what has come, and says so every few seconds. For several threads."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._come = 0
        self._said = time.monotonic()
        self._lock = threading.Lock()

    def add(self, count: int) -> None:
        """Count bytes that came."""
        with self._lock:
            self.at(self._come + count)

    def at(self, come: int) -> None:
        """Take note that so many bytes have come in all."""
        self._come = come
        if time.monotonic() - self._said > EVERY_S:
            self._said = time.monotonic()
            say(f"fetched {come / MIB:.0f} of {self._total / MIB:.0f} MiB")
