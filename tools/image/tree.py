"""Folders of files that become an image: what is in them, in one order on every host."""

import os
from pathlib import Path

Entries = dict[str, Path]


def entries_of(folders: list[Path]) -> Entries:
    """Return {name below the folders: path} of all in folders laid over each other, by name."""
    found: Entries = {}
    for folder in folders:
        for top, directories, files in os.walk(folder):
            for name in directories + files:
                path = Path(top, name)
                found[path.relative_to(folder).as_posix()] = path
    return dict(sorted(found.items(), key=lambda item: item[0].split("/")))


def is_program(file: Path) -> bool:
    """Tell whether a file is to be executable: all that its mode counts for."""
    return bool(file.stat().st_mode & 0o100)
