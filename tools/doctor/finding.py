"""One line of the doctor's page."""

import subprocess
from dataclasses import dataclass

GOOD, REMARK, BAD = "ok", "note", "BAD"


@dataclass(frozen=True)
class Finding:
    """What was looked at, how it is, and, unless all is well, the one line that mends it."""

    state: str  # GOOD, REMARK (works, but worth knowing) or BAD (make run cannot work)
    what: str
    detail: str
    mend: str = ""


def ask(*command: str, seconds: float = 10) -> str:
    """Return what a program prints, "" if it is not there, fails or takes too long."""
    try:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""
