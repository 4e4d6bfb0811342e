"""A suite's newest packages: the index of the archive, read once its signature is checked.

Splits the text itself and gives a stanza to python-debian only when it is asked for: reading all
60,000 would take a minute.
"""

import lzma
import re
import tempfile
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pysequoia
from debian.deb822 import Packages, Release
from debian.debian_support import Version

from tools.image.debian import store
from tools.image.debian.download import Wanted
from tools.image.debian.lockfile import Package
from tools.image.debian.mirror import Mirror
from tools.image.debian.signature import signed_text
from tools.image.debian.suites import Suite
from tools.setup.progress import fail

PACKAGES = "main/binary-amd64/Packages.xz"
NAME = re.compile(r"^Package: (\S+)$", re.MULTILINE)
PRIORITIES = ("required", "important", "standard", "optional")
PROVIDES = re.compile(r"^Provides: (.*)$", re.MULTILINE)


class Index:
    """The packages of one suite, its updates included: each name's newest version."""

    def __init__(self, texts: Iterable[tuple[str, str]]) -> None:
        """Take in (archive, text of its Packages file) of each part of the suite."""
        self._stanzas: dict[str, list[tuple[str, str]]] = defaultdict(list)
        self._providers: dict[str, set[str]] = defaultdict(set)
        for archive, text in texts:
            for stanza in text.split("\n\n"):
                if named := NAME.search(stanza):
                    self._take(named[1], archive, stanza)

    def _take(self, name: str, archive: str, stanza: str) -> None:
        self._stanzas[name].append((archive, stanza))
        if provides := PROVIDES.search(stanza):
            for virtual in provides[1].split(","):
                self._providers[virtual.split()[0].partition(":")[0]].add(name)

    def newest(self, name: str) -> tuple[Package, Packages] | None:
        """Return a package's newest version and its stanza; the first listed of equal ones."""
        found = [(archive, Packages(stanza)) for archive, stanza in self._stanzas.get(name, ())]
        if not found:
            return None
        archive, stanza = max(found, key=lambda pair: Version(pair[1]["Version"]))
        path = f"{archive}/{stanza['Filename']}"
        size = int(stanza["Size"])
        return Package(name, stanza["Version"], size, stanza["SHA256"], path), stanza

    def providers(self, name: str) -> list[str]:
        """Return the packages that provide a name: the most important, then by name."""
        return sorted(self._providers.get(name, ()), key=lambda n: (self._rank(n), n))

    def _rank(self, name: str) -> int:
        _, stanza = self._stanzas[name][0]
        priority = Packages(stanza)["Priority"]
        return PRIORITIES.index(priority) if priority in PRIORITIES else len(PRIORITIES)


def read_index(suite: Suite, mirror: Mirror, keys: list[pysequoia.Cert]) -> Index:
    """Fetch and check the index files of a suite.

    Errors: SystemExit, one cannot be had, is signed by somebody else or is of another suite.
    """
    return Index((archive, _packages(archive, d, mirror, keys)) for archive, d in suite.indices)


def _packages(archive: str, dist: str, mirror: Mirror, keys: list[pysequoia.Cert]) -> str:
    top = f"{archive}/dists/{dist}"
    release = Release(signed_text(_fetched(mirror, f"{top}/InRelease"), keys, f"{top}/InRelease"))
    if dist not in (release.get("Codename"), release.get("Suite")):
        raise fail(f"{mirror.url(top)} is of {release.get('Codename')}, not of {dist}")
    entry = next((e for e in release["SHA256"] if e["name"] == PACKAGES), None)
    if entry is None:
        raise fail(f"{mirror.url(top)} has no {PACKAGES}")
    path = f"{top}/{PACKAGES.rsplit('/', 1)[0]}/by-hash/SHA256/{entry['sha256']}"
    return lzma.decompress(_fetched(mirror, path, entry["sha256"])).decode()


def _fetched(mirror: Mirror, path: str, sha256: str | None = None) -> bytes:
    """Return the contents of a file of the mirror that the store does not keep."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Wanted(mirror.url(path), Path(folder, "file"), sha256=sha256)
        if error := store.transfer([wanted], mirror)[wanted]:
            raise fail(f"{error}; DEBIAN_MIRROR=… names another mirror")
        return wanted.target.read_bytes()
