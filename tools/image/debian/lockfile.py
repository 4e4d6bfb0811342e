"""The lock file of a suite: every Debian package that is used of it, by version and checksum.

A line is NAME VERSION SIZE SHA256 PATH, below the [set] that the package belongs to; the path is
the one on a mirror, its first part the archive. So a renewal is a diff that a person can read.
"""

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from tools.setup.progress import fail

FOLDER = Path(__file__).parents[1] / "lock"
TITLE = "# The Debian packages that are used of {}; `make lock` writes this file anew.\n"
LINE = re.compile(r"(\S+) (\S+) (\d+) ([0-9a-f]{64}) ([\w.+~:-]+(?:/[\w.+~:-]+)+)")


@dataclass(frozen=True)
class Package:
    """One version of a Debian package."""

    name: str
    version: str
    size: int
    sha256: str
    path: str

    @property
    def file_name(self) -> str:
        """The name of its file in the archive."""
        return PurePosixPath(self.path).name

    def __str__(self) -> str:
        return f"{self.name} {self.version}"


Sets = dict[str, list[Package]]


def file_of(suite: str) -> Path:
    """Return where the lock of a suite is."""
    return FOLDER / f"{suite}.lock"


def locked(suite: str) -> Sets:
    """Return the pinned packages of a suite by set.

    Errors: SystemExit, the file is missing or a line of it is none.
    """
    file = file_of(suite)
    try:
        return parse(file.read_text(), file.name)
    except OSError as error:
        raise fail(f"cannot read {file}: {error.strerror}; `make lock` writes it") from None


def parse(text: str, name: str) -> Sets:
    """Return the sets that a lock file's text lists."""
    sets: Sets = {}
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("[") and line.endswith("]"):
            current = sets.setdefault(line[1:-1], [])
        elif line and not line.startswith("#"):
            found = LINE.fullmatch(line)
            if found is None or not sets or ".." in found[5].split("/"):
                raise fail(f"{name}:{number} is no package: {line!r}; `make lock` writes it anew")
            package, version, size, sha256, path = found.groups()
            current.append(Package(package, version, int(size), sha256, path))
    return sets


def render(suite: str, sets: Sets) -> str:
    """Return the text of a lock file: sets in their order, packages by name."""
    parts = [TITLE.format(suite)]
    for name, packages in sets.items():
        lines = (f"{p} {p.size} {p.sha256} {p.path}\n" for p in sorted(packages, key=str))
        parts += ["\n", f"[{name}]\n", *lines]
    return "".join(parts)


def changes(before: Sets, after: Sets) -> list[str]:
    """Return what differs between two locks, one line a package."""
    old, new = ({p.name: p for packages in s.values() for p in packages} for s in (before, after))
    lines = [f"{old[name]} -> {new[name].version}" for name in old if _differs(name, old, new)]
    lines += [f"{new[name]} is new" for name in new.keys() - old.keys()]
    return sorted(lines + [f"{old[name]} is gone" for name in old.keys() - new.keys()])


def _differs(name: str, old: dict[str, Package], new: dict[str, Package]) -> bool:
    return name in new and old[name].sha256 != new[name].sha256
