"""Runs a program of others with its words in a log, and tells in a few of our own why it failed."""

import re
import subprocess
import sys

from tools.setup.paths import BUILD, ROOT

LOG = BUILD / "setup.log"
LOG_NAME = str(LOG.relative_to(ROOT))
THIS_PYTHON = f"Python {sys.version_info[0]}.{sys.version_info[1]}"
# The first that is found, anywhere in what a program said, is the reason.
REASONS = (
    (r"No space left on device|Disk quota exceeded", "the disk is full"),
    (
        r"Temporary failure|(?i:could not resolve|could not connect|network is unreachable)|"
        r"Name or service not known|NewConnectionError|NameResolutionError|ConnectTimeoutError|"
        r"ProxyError|Connection refused|Connection timed out",
        "the network does not answer",
    ),
    (r"CERTIFICATE_VERIFY_FAILED", "the network's certificate is not one that is trusted here"),
    (r"Could not get lock|dpkg frontend lock", "another apt is at work"),
    (r"No matching distribution found for (\S+)", rf"there is no \1 for {THIS_PYTHON}"),
    (r"Unable to locate package (\S+)", r"apt knows no package \1"),
    (r"Read-only file system", "the file system is read-only"),
    (r"Permission denied", "a file or folder may not be written"),
)


def run(words: list[str], environment: dict[str, str] | None = None) -> str | None:
    """Run a program, and append what it says to the log.

    Returns: None, or in a few words why it failed.
    """
    BUILD.mkdir(exist_ok=True)
    try:
        done = subprocess.run(
            words, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, errors="replace",
        )  # fmt: skip
    except OSError as error:
        return f"{words[0]}: {error.strerror}"
    with LOG.open("a") as log:
        log.write(f"$ {' '.join(words)}\n{done.stdout}\n")
    return reason(done.stdout) if done.returncode else None


def reason(said: str) -> str:
    """Return why a program failed, from what it said."""
    for pattern, words in REASONS:
        if found := re.search(pattern, said):
            return found.expand(words)
    errors = re.findall(r"^(?:E|ERROR|error): (.+)$", said, re.MULTILINE)
    return (errors or said.strip().splitlines() or ["it does not say why"])[-1]
