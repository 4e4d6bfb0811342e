"""One line for each step that a person would otherwise wait for in silence."""

import contextlib
import sys
import time
from collections.abc import Iterator


def say(text: str) -> None:
    """Print a progress line at once, on stderr: stdout belongs to the guest's console."""
    sys.stderr.write(f"proxen: {text}\n")  # one write, as steps may run beside each other
    sys.stderr.flush()


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """Announce a step, and say how long it took where that was over two seconds."""
    say(f"{text} ...")
    start = time.monotonic()
    yield
    took = time.monotonic() - start
    if took > 2:
        say(f"{text}: done in {took:.0f} s")


def fail(text: str) -> SystemExit:
    """Return the exit that says in one sentence why we cannot go on; for `raise fail(...)`."""
    return SystemExit(f"proxen: {text}")
