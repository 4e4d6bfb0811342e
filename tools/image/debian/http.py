"""Fetches files by HTTP with the standard library: several at once, each with a few tries.

What came before a connection was cut is kept in a .part file and the rest asked for; only a file
with the right checksum gets its name.
"""

import http.client
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO

from tools.image.debian.download import FetchError, Gone, Outcomes, Progress, Wanted, is_whole

CONNECTIONS = 4
TRIES = 4
PAUSE_S = 0.5  # before the second try; twice as long before each further one
SILENCE_S = 30
CHUNK = 1 << 16
CUT = (http.client.HTTPException, ConnectionError, TimeoutError, urllib.error.URLError)


def fetch(files: list[Wanted], progress: Progress) -> Outcomes:
    """Fetch files to their targets.

    Returns: for each, None or why it could not be had.
    """
    with ThreadPoolExecutor(CONNECTIONS) as threads:
        return dict(zip(files, threads.map(lambda f: _outcome(f, progress), files), strict=True))


def _outcome(wanted: Wanted, progress: Progress) -> FetchError | None:
    try:
        _fetch(wanted, progress)
    except FetchError as error:
        return error
    return None


def _fetch(wanted: Wanted, progress: Progress) -> None:
    """Have one file, trying again where that may help."""
    part = wanted.target.with_name(wanted.target.name + ".part")
    for attempt in range(TRIES):
        try:
            _continue(wanted, part, progress)
        except CUT as error:
            reason = _reason(wanted, error)
        else:
            if is_whole(wanted, part):
                part.replace(wanted.target)
                return
            part.unlink()
            reason = FetchError(f"{wanted.url} has not the bytes that its checksum says")
        if attempt + 1 < TRIES:
            time.sleep(PAUSE_S * 2**attempt)
    raise reason


def _continue(wanted: Wanted, part: Path, progress: Progress) -> None:
    """Append to the part file what it lacks of the whole."""
    have = part.stat().st_size if part.exists() and wanted.size is not None else 0
    if have and have == wanted.size:
        return
    request = urllib.request.Request(wanted.url, headers={"User-Agent": "proxen"})
    if have:
        request.add_header("Range", f"bytes={have}-")
    with urllib.request.urlopen(request, timeout=SILENCE_S) as answer:
        continued = have and answer.status == http.client.PARTIAL_CONTENT
        with part.open("ab" if continued else "wb") as file:
            _copy(answer, file, progress)
            if getattr(answer, "length", None):
                raise ConnectionError("the connection ended before its time")
        _check_length(wanted, part.stat().st_size)


def _copy(source: BinaryIO, target: BinaryIO, progress: Progress) -> None:
    while chunk := source.read(CHUNK):
        target.write(chunk)
        progress.add(len(chunk))


def _check_length(wanted: Wanted, length: int) -> None:
    if wanted.size is not None and length < wanted.size:
        raise ConnectionError(f"the connection ended after {length} of {wanted.size} bytes")


def _reason(wanted: Wanted, error: Exception) -> FetchError:
    """Return what a failed request means.

    Errors: Gone or FetchError, raised where another try is of no use.
    """
    if isinstance(error, urllib.error.HTTPError):
        reason = FetchError(f"{wanted.url} answers {error.code} {error.reason}")
        if error.code in (404, 410):
            raise Gone(str(reason))
        if error.code < 500 and error.code not in (408, 429):
            raise reason
        return reason
    cause = getattr(error, "reason", error)
    if isinstance(cause, FileNotFoundError):
        raise Gone(f"there is no {wanted.url}")
    text = getattr(cause, "strerror", None) or str(cause) or type(cause).__name__
    return FetchError(f"{wanted.url} cannot be had: {text}")
