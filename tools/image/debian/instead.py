"""What was taken in place of pinned packages that a mirror has no more: a note below build/cache.

The note belongs to the pinned packages that it stands for, so a renewed lock file ends it.
"""

import hashlib
from pathlib import Path

from tools.image.debian.lockfile import Package, locked, parse, render
from tools.setup.paths import CACHE

NOTES = CACHE / "newest"


def packages_of(suite: str, name: str) -> list[Package]:
    """Return the packages of a set: the pinned ones, or those that were taken instead."""
    file = _note(suite, name)
    return parse(file.read_text(), file.name)[name] if file.exists() else locked(suite)[name]


def take(suite: str, name: str, packages: list[Package]) -> None:
    """Remember the packages that stand for the pinned ones of a set."""
    file = _note(suite, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(render(suite, {name: packages}))


def _note(suite: str, name: str) -> Path:
    pinned = "".join(package.sha256 for package in locked(suite)[name])
    return NOTES / f"{suite}-{name}-{hashlib.sha256(pinned.encode()).hexdigest()[:16]}.lock"
