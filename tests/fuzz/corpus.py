"""The programs that reached something first, kept as files."""

import hashlib
import os
import pathlib

from tests.fuzz import program as programs


class Corpus:
    """Programs in memory, each also a file of a folder."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.programs = []

    def files(self):
        """The files of the folder, oldest first."""
        return sorted(self.folder.glob("*.prog"), key=lambda path: path.stat().st_mtime)

    def add(self, program):
        """Keep a program."""
        self.programs.append(program)
        self.folder.mkdir(parents=True, exist_ok=True)
        path = self.folder / f"{name_of(program)}.prog"
        if not path.exists():
            programs.save(path, program)

    def choose(self, random):
        """Choose a program to change: one of the latest as often as any other."""
        count = len(self.programs)
        latest = count - 1 - count // 5
        first = latest if random.random() < 0.5 and latest > 0 else 0
        return self.programs[first + int(random.random() * (count - first))]


def name_of(program):
    return hashlib.sha256(b"".join(program)).hexdigest()[:16]


def forget(path):
    """Remove a file of the corpus, whoever else did so too."""
    try:
        os.remove(path)
    except FileNotFoundError:
        return
