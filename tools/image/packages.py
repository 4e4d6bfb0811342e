"""The Debian packages that dom0 is made of: the versions that the lock files pin, once fetched.

A mirror drops a version when a newer one is out. Then the whole set is taken anew from the suite's
signed index, said, and remembered below build/cache: the set of one day belongs together.
"""

from dataclasses import dataclass
from pathlib import Path

from tools.image.debian import store
from tools.image.debian.index import read_index
from tools.image.debian.instead import packages_of, take
from tools.image.debian.lockfile import Package, changes
from tools.image.debian.mirror import Mirror, mirror
from tools.image.debian.resolve import resolve
from tools.image.debian.signature import archive_keys
from tools.image.debian.suites import SUITES
from tools.setup.progress import fail, say, step
from tools.setup.stamp import fingerprint

USER_SPACE_SUITE = "bookworm"
REAL_XENS = {"4.17": "bookworm", "4.20": "trixie"}  # by version, the suite that has it


@dataclass(frozen=True)
class Debs:
    """The fetched packages of one set."""

    packages: list[Package]

    @property
    def files(self) -> list[Path]:
        """Their .deb files."""
        return [store.place(package) for package in self.packages]

    @property
    def digest(self) -> str:
        """A fingerprint of their contents."""
        return fingerprint("\n".join(package.sha256 for package in self.packages))

    def __str__(self) -> str:
        first = str(self.packages[0])
        return first if len(self.packages) == 1 else f"{len(self.packages)} packages"


def user_space() -> Debs:
    """Return the packages of dom0's user space, fetching what is missing."""
    return fetched(USER_SPACE_SUITE, "user-space")


def kernel(suite: str) -> Debs:
    """Return the packages of a suite's kernel: those that linux-image-amd64 stands for."""
    return fetched(suite, "kernel")


def real_xen(version: str) -> Debs:
    """Return the package of a hypervisor that we compare ourselves with."""
    return fetched(REAL_XENS[version], "xen")


def xen_headers() -> Debs:
    """Return the package of Xen 4.17's public headers, to compare ours with."""
    return fetched(REAL_XENS["4.17"], "headers")


def fetched(suite: str, name: str) -> Debs:
    """Return a set of a suite's packages, fetching what is missing.

    Errors: SystemExit, one of them cannot be had.
    """
    packages = packages_of(suite, name)
    if not all(map(store.has, packages)):
        with step(f"fetch Debian packages ({suite}, {name})"):
            packages = _fetch(suite, name, packages)
    return Debs(packages)


def _fetch(suite: str, name: str, packages: list[Package]) -> list[Package]:
    """Fetch packages, or where the mirror lacks one of them the newest of the set."""
    source = mirror()
    if not store.fetch(packages, source):
        return packages
    newest = _ask(suite, name, source)
    for line in changes({name: packages}, {name: newest}):
        say(f"{source} has other packages than the lock file; {suite}: {line}")
    if gone := store.fetch(newest, source):
        raise fail(f"{source} lacks {gone[0]}, which its own index names; wait until it is in step")
    take(suite, name, newest)
    return newest


def _ask(suite: str, name: str, source: Mirror) -> list[Package]:
    index = read_index(SUITES[suite], source, archive_keys(source))
    return sorted(resolve(index, SUITES[suite].sets[name]), key=str)
