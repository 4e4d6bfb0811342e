"""The fetched packages, below build/cache by checksum; what has its name there is whole."""

import fcntl
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path

from tools.image.debian import apt, http
from tools.image.debian.download import Gone, Outcomes, Progress, Wanted
from tools.image.debian.lockfile import Package
from tools.image.debian.mirror import Mirror
from tools.setup.paths import CACHE
from tools.setup.progress import fail

POOL = CACHE / "pool"
SHOWN = 3  # names in a message


def place(package: Package) -> Path:
    """Return where the file of a package is, or will be."""
    return POOL / package.sha256 / package.file_name


def has(package: Package) -> bool:
    """Tell whether the package was fetched."""
    return place(package).exists()


def fetch(packages: Sequence[Package], mirror: Mirror) -> list[Package]:
    """Fetch the packages that are not there.

    Returns: those that the mirror has no more.
    Errors: SystemExit, one cannot be had for another reason.
    """
    with _alone():
        missing = {_wanted(p, mirror): p for p in packages if not has(p)}
        for wanted in missing:
            wanted.target.parent.mkdir(exist_ok=True)
        outcomes = transfer(list(missing), mirror)
    failed = [file for file, error in outcomes.items() if error and not isinstance(error, Gone)]
    if failed:
        raise fail(_complaint([missing[file] for file in failed], str(outcomes[failed[0]])))
    return [missing[file] for file, error in outcomes.items() if error]


def transfer(files: list[Wanted], mirror: Mirror) -> Outcomes:
    """Fetch files through the program that the mirror calls for.

    Errors: SystemExit, they cannot be written.
    """
    if not files:
        return {}
    progress = Progress(sum(file.size or 0 for file in files))
    try:
        return (apt if mirror.by_apt else http).fetch(files, progress)
    except OSError as error:
        raise fail(f"cannot write below {files[0].target.parent}: {error.strerror}") from None


@contextmanager
def _alone():
    """Keep other processes from fetching at the same time: they find afterwards what we fetched."""
    try:
        POOL.mkdir(parents=True, exist_ok=True)
        with (POOL / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield
    except OSError as error:
        raise fail(f"cannot write below {POOL}: {error.strerror}") from None


def _wanted(package: Package, mirror: Mirror) -> Wanted:
    return Wanted(mirror.url(package.path), place(package), package.size, package.sha256)


def _complaint(packages: list[Package], reason: str) -> str:
    names = ", ".join(map(str, packages[:SHOWN]))
    more = f" and {len(packages) - SHOWN} more" if len(packages) > SHOWN else ""
    return (
        f"Debian packages are not in build/cache ({names}{more}): {reason}; "
        "with a network `make build` fetches them, DEBIAN_MIRROR=… names another mirror"
    )
