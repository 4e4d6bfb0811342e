"""Which mirror packages come from, and through which program.

`DEBIAN_MIRROR` names it: one address for the archive `debian` and, after a space, one for
`debian-security`. Otherwise it is the mirror that the host's apt uses, if that is one of Debian's,
and apt's own downloader fetches from it, as it knows the host's proxies and passwords. A host
without apt fetches from Debian's own address.
"""

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tools.setup.progress import fail

OFFICIAL = {
    "debian": "http://deb.debian.org/debian",
    "debian-security": "http://deb.debian.org/debian-security",
}
APT_FOLDER = Path("/etc/apt")
APT_HELPER = Path("/usr/lib/apt/apt-helper")
ONE_LINE = re.compile(r"^\s*deb\s+(?:\[[^\]]*\]\s+)?(\S+)\s", re.MULTILINE)
URIS = re.compile(r"^URIs:((?:.*\n?)(?:[ \t].*\n?)*)", re.MULTILINE | re.IGNORECASE)


@dataclass(frozen=True)
class Mirror:
    """Where each archive is, and whether the host's apt fetches from there."""

    addresses: dict[str, str]
    by_apt: bool

    def url(self, path: str) -> str:
        """Return the address of a path, whose first part is the archive."""
        archive, _, rest = path.partition("/")
        return f"{self.addresses[archive]}/{rest}"

    def __str__(self) -> str:
        return self.addresses["debian"]


def mirror() -> Mirror:
    """Return the mirror to use.

    Errors: SystemExit, DEBIAN_MIRROR is no address.
    """
    if named := os.environ.get("DEBIAN_MIRROR", "").split():
        return Mirror(OFFICIAL | _named(named), by_apt=False)
    if APT_HELPER.exists():
        return Mirror(OFFICIAL | _of_apt(), by_apt=True)
    return Mirror(OFFICIAL, by_apt=False)


def _named(words: list[str]) -> dict[str, str]:
    for word in words:
        if not re.match(r"(https?|file)://", word):
            example = OFFICIAL["debian"]
            raise fail(f"DEBIAN_MIRROR is {word!r}, which is no address such as {example}")
    return {name: word.rstrip("/") for name, word in zip(OFFICIAL, words, strict=False)}


def _of_apt() -> dict[str, str]:
    """Return the addresses of Debian's archives in apt's sources, the first of each."""
    found: dict[str, str] = {}
    for address in _sources():
        name = address.rsplit("/", 1)[1]
        if name in OFFICIAL and re.match(r"https?://", address):
            found.setdefault(name, address)
    return found


def _sources() -> Iterator[str]:
    files = [APT_FOLDER / "sources.list", *sorted(APT_FOLDER.glob("sources.list.d/*"))]
    for file in files:
        pattern = {".list": ONE_LINE, ".sources": URIS}.get(file.suffix)
        if pattern is not None and file.is_file() and os.access(file, os.R_OK):
            for found in pattern.findall(_without_comments(file.read_text())):
                yield from (address.rstrip("/") for address in found.split())


def _without_comments(text: str) -> str:
    return "".join(line for line in text.splitlines(True) if not line.lstrip().startswith("#"))
