"""Writes the lock files anew: the newest packages of each suite, by the archive's signed index."""

from pathlib import Path

from tools.image.debian.index import Index, read_index
from tools.image.debian.lockfile import Sets, changes, file_of, locked, render
from tools.image.debian.mirror import mirror
from tools.image.debian.resolve import resolve
from tools.image.debian.signature import archive_keys
from tools.image.debian.suites import SUITES, Suite
from tools.setup.progress import fail, say, step


def newest(suite: Suite, index: Index) -> Sets:
    """Return the newest packages of each set of a suite."""
    return {name: resolve(index, wanted) for name, wanted in suite.sets.items()}


def renew() -> None:
    """Write the lock file of each suite, and say what changed."""
    source = mirror()
    keys = archive_keys(source)
    for suite in SUITES.values():
        with step(f"ask {source} for the newest packages of {suite.name}"):
            sets = newest(suite, read_index(suite, source, keys))
        file = file_of(suite.name)
        for line in changes(locked(suite.name) if file.exists() else {}, sets):
            say(f"{suite.name}: {line}")
        _write(file, render(suite.name, sets))


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text)
    except OSError as error:
        raise fail(f"cannot write {file}: {error.strerror}") from None
