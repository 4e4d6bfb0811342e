"""Unpacks .deb files into a folder, with /usr merged, without root and maintainer scripts.

Documentation, translations and the like stay behind. Owners are not kept: every file of dom0's
user space belongs to root, which the file system's maker sees to.
"""

import io
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath

MERGED = ("bin", "sbin", "lib", "lib64", "lib32")
NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/perl5",
    "usr/lib/python3.11/test",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/x86_64-linux-gnu/gconv",
    "var/lib/dpkg",
)


def members(deb: Path) -> Iterator[tuple[PurePosixPath, tarfile.TarInfo, io.BufferedReader | None]]:
    """Yield (path, entry, contents) of a package's file tree, paths without the leading ./"""
    command = ["dpkg-deb", "--fsys-tarfile", deb]
    with (
        subprocess.Popen(command, stdout=subprocess.PIPE) as child,
        tarfile.open(fileobj=child.stdout, mode="r|") as archive,
    ):
        for entry in archive:
            contents = archive.extractfile(entry) if entry.isreg() else None
            yield PurePosixPath(entry.name), entry, contents
    if child.returncode:
        raise subprocess.CalledProcessError(child.returncode, child.args)


def unpack(deb: Path, target: Path, wanted: Callable[[PurePosixPath], bool]) -> None:
    """Put the wanted files of a package below target, with /bin, /lib and kin merged into /usr."""
    for path, entry, contents in members(deb):
        place = merged(path)
        if place.parts and wanted(place):
            _put(target / place, entry, contents, target)


def needed(path: PurePosixPath) -> bool:
    """Tell whether dom0 has a use for the path: programs yes, documentation no."""
    text = str(path)
    return not any(text == prefix or text.startswith(prefix + "/") for prefix in NOT_NEEDED)


def merged(path: PurePosixPath) -> PurePosixPath:
    """Return where the path is in a merged-/usr system: bin/x is usr/bin/x."""
    return PurePosixPath("usr", path) if path.parts[:1] and path.parts[0] in MERGED else path


def _put(place: Path, entry: tarfile.TarInfo, contents, target: Path) -> None:
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.parent.resolve().is_relative_to(target.resolve()):
        raise ValueError(f"{entry.name} would land outside {target}")
    if entry.isdir():
        place.mkdir(exist_ok=True)
    elif entry.issym():
        place.unlink(missing_ok=True)
        place.symlink_to(entry.linkname)
    elif entry.islnk():
        place.unlink(missing_ok=True)
        place.hardlink_to(target / merged(PurePosixPath(entry.linkname)))
    else:
        place.unlink(missing_ok=True)
        place.write_bytes(contents.read())
        place.chmod(entry.mode & 0o755 | 0o200)
