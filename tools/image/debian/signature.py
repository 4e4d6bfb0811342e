"""Tells Debian's index files from others: by the signatures of the archive's keys.

The keys come from a package that a lock file pins, so trust starts with the checksum in our tree.
A host that has Debian's keyring serves where the mirror has none of those packages any more.
"""

import io
from collections.abc import Iterator
from pathlib import Path

import pysequoia

from tools.image.debian import store
from tools.image.debian.archive import members
from tools.image.debian.lockfile import file_of, locked
from tools.image.debian.mirror import Mirror
from tools.image.debian.suites import SUITES
from tools.setup.progress import fail

KEYRING = "usr/share/keyrings/debian-archive-keyring"
ENDINGS = (".pgp", ".gpg")
HOST_KEYRINGS = tuple(Path(f"/{KEYRING}{ending}") for ending in ENDINGS)


def archive_keys(mirror: Mirror) -> list[pysequoia.Cert]:
    """Return the public keys that sign Debian's archive, fetching them if need be.

    Errors: SystemExit, neither a pinned keyring nor the host's can be had.
    """
    for contents in _keyrings(mirror):
        return list(pysequoia.Cert.split_bytes(contents))
    raise fail(
        f"{mirror} has none of the pinned versions of debian-archive-keyring, and this host has no "
        f"/{KEYRING}.gpg; take a newer Proxen, or install debian-archive-keyring"
    )


def signed_text(data: bytes, keys: list[pysequoia.Cert], what: str) -> str:
    """Return the text that one of the keys signed; `what` names the file in a complaint."""
    try:
        return pysequoia.verify(bytes=data, store=lambda _wanted: keys).bytes.decode()
    except (RuntimeError, UnicodeDecodeError) as error:
        reason = str(error).splitlines()[0]
        raise fail(f"{what} is not signed by Debian's archive: {reason}") from None


def _keyrings(mirror: Mirror) -> Iterator[bytes]:
    for suite in (name for name in SUITES if file_of(name).exists()):
        for package in locked(suite)["keyring"]:
            if not store.fetch([package], mirror):
                yield _keyring(store.place(package))
    for file in HOST_KEYRINGS:
        if file.exists():
            yield file.read_bytes()


def _keyring(deb: Path) -> bytes:
    for path, entry, contents in members(deb):
        if entry.isreg() and str(path) in [KEYRING + ending for ending in ENDINGS]:
            return io.BufferedReader(contents).read()
    raise fail(f"{deb.name} has no {KEYRING}.gpg")
