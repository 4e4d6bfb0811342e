"""Unpacks .deb files into a folder, with /usr merged, without root and maintainer scripts.

Documentation, translations and the like stay behind. Owners are not kept: every file of dom0's
user space belongs to root, which the file system's maker sees to. No entry leaves the folder,
neither by its name nor through a link.
"""

import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from tools.image.debian.archive import members
from tools.setup.progress import fail

MERGED = ("bin", "sbin", "lib", "lib64", "lib32", "libx32")
NOT_NEEDED = (
    "usr/share/doc",
    "usr/share/man",
    "usr/share/locale",
    "usr/share/info",
    "usr/share/lintian",
    "usr/share/bash-completion",
    "usr/share/bug",
    "usr/share/perl5",
    "usr/lib/python3/dist-packages/h11/tests",
    "usr/lib/python3.11/test",
    "usr/lib/python3.11/lib2to3",
    "usr/lib/python3.11/pydoc_data",
    "usr/lib/x86_64-linux-gnu/gconv",
    "var/lib/dpkg",
)


def unpack(deb: Path, target: Path, wanted: Callable[[PurePosixPath], bool]) -> None:
    """Put the wanted files of a package below target, with /bin, /lib and kin merged into /usr.

    Errors: SystemExit, the package is damaged, or has an entry that leaves the tree.
    """
    for path, entry, contents in members(deb):
        place = merged(path)
        if place.parts and wanted(place) and not _is_merged_folder(path):
            try:
                _put(target, place, entry, contents)
            except ValueError as error:
                raise fail(f"{deb.name}: {error}; it is not unpacked") from None


def needed(path: PurePosixPath) -> bool:
    """Tell whether dom0 has a use for the path: programs yes, documentation no."""
    text = str(path)
    return not any(text == prefix or text.startswith(prefix + "/") for prefix in NOT_NEEDED)


def merged(path: PurePosixPath) -> PurePosixPath:
    """Return where the path is in a merged-/usr system: bin/x is usr/bin/x."""
    return PurePosixPath("usr", path) if path.parts[:1] and path.parts[0] in MERGED else path


def _is_merged_folder(path: PurePosixPath) -> bool:
    """Tell whether an entry is /bin or its kin, which newer packages ship as links into /usr."""
    return len(path.parts) == 1 and path.parts[0] in MERGED


def _put(
    target: Path, path: PurePosixPath, entry: tarfile.TarInfo, contents: BinaryIO | None
) -> None:
    """Write one entry of a package.

    Errors: ValueError, it would land outside of the tree, or is neither file, folder nor link.
    """
    place = _inside(target, path)
    if entry.isdir():
        place.mkdir(parents=True, exist_ok=True)
        return
    place.parent.mkdir(parents=True, exist_ok=True)
    if place.is_dir() and not place.is_symlink():
        raise ValueError(f"{path} is a folder already, and would become something else")
    place.unlink(missing_ok=True)
    if entry.issym():
        place.symlink_to(entry.linkname)
    elif entry.islnk():
        place.hardlink_to(_inside(target, merged(PurePosixPath(entry.linkname))))
    elif contents is not None:
        with place.open("wb") as file:
            shutil.copyfileobj(contents, file)
        place.chmod(0o755 if entry.mode & 0o111 else 0o644)
    else:
        raise ValueError(f"{path} is a device or the like")


def _inside(target: Path, path: PurePosixPath) -> Path:
    """Return where a path of a package is below target."""
    place = target / path
    parent = place.parent.resolve()
    if path.is_absolute() or ".." in path.parts or not parent.is_relative_to(target.resolve()):
        raise ValueError(f"{path} would land outside of the tree")
    return place
