"""Fetches files with the downloader of the host's apt, which knows its proxies and passwords.

Only the downloading is apt's: which files, and whether they are right, is decided here.
"""

import re
import subprocess
import tempfile
from urllib.parse import unquote

from tools.image.debian.download import (
    EVERY_S,
    FetchError,
    Gone,
    Outcomes,
    Progress,
    Wanted,
    is_whole,
)
from tools.image.debian.mirror import APT_HELPER

OPTIONS = ("-q=2", "-o", "APT::Sandbox::User=", "-o", "Acquire::Retries=3")
SILENT = "apt does not say why"
FAILED = re.compile(r"^E: Failed to fetch (\S+)  (.*)$", re.MULTILINE)


def fetch(files: list[Wanted], progress: Progress) -> Outcomes:
    """Fetch files to their targets.

    Returns: for each, None or why it could not be had.
    """
    words = [str(APT_HELPER), *OPTIONS, "download-file"]
    for file in files:
        checksum = f"SHA256:{file.sha256}" if file.sha256 else ""
        words += [file.url, str(file.target.with_name(file.target.name + ".part")), checksum]
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(words, stdout=said, stderr=said) as child:
            _wait(child, files, progress)
        said.seek(0)
        text = said.read()
    last_words = (text.splitlines() or [SILENT])[-1]
    reasons = {unquote(url): reason for url, reason in FAILED.findall(text)}  # it writes %2b for +
    return {file: _outcome(file, reasons.get(unquote(file.url)), last_words) for file in files}


def _wait(child: subprocess.Popen, files: list[Wanted], progress: Progress) -> None:
    """Wait for apt's end, looking now and then how far it is."""
    while True:
        try:
            child.wait(EVERY_S)
            return
        except subprocess.TimeoutExpired:
            parts = {path for f in files for path in f.target.parent.glob(f.target.name + ".part*")}
            progress.at(sum(path.stat().st_size for path in parts if path.exists()))


def _outcome(file: Wanted, reason: str | None, last_words: str) -> FetchError | None:
    part = file.target.with_name(file.target.name + ".part")
    if part.exists() and reason is None:
        if is_whole(file, part):
            part.replace(file.target)
            return None
        reason = "Hash Sum mismatch"
    for left in part.parent.glob(f"{part.name}*"):
        left.unlink()
    text = f"{file.url} cannot be had: {reason or last_words}"
    return Gone(text) if (reason or "").startswith(("404", "410")) else FetchError(text)
