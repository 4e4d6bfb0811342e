"""dom0's image has the same bytes wherever it is built: another host's folder, user, file order,
umask, language and time zone show nowhere, and no program of the host is needed.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path

import pytest

from tools.image.build import build_image
from tools.setup.paths import BUILD, CACHE, GEN, TOOLS

NOBODY = 65534
MEMORY = Path("/dev/shm")  # a file system that lists files in another order than a disk's
# root can build as somebody else, unless this Python lies in a home of root's.
_OPEN = all(path.stat().st_mode & 0o005 == 0o005 for path in Path(sys.base_prefix).parents)
_OTHER = {"user": NOBODY, "group": NOBODY, "extra_groups": []}
OTHER_USER = _OTHER if os.geteuid() == 0 and _OPEN else {}
MEMORY_NEEDED = 2 << 30
ELSEWHERE = {
    "PATH": "/nonexistent",
    "HOME": "/nonexistent",
    "TZ": "Pacific/Chatham",
    "LC_ALL": "tr_TR.UTF-8",
    "PYTHONHASHSEED": "12345",
    "SOURCE_DATE_EPOCH": "1",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# Folders are read backwards, whatever order the file system has them in.
BACKWARDS = """
import os, runpy
listdir, scandir = os.listdir, os.scandir
class Backwards(list):
    def __iter__(self): return self
    def __next__(self):
        if not self: raise StopIteration
        return self.pop()
    def __enter__(self): return self
    def __exit__(self, *_): pass
    close = __exit__
os.listdir = lambda *words: listdir(*words)[::-1]
os.scandir = lambda *words: Backwards(scandir(*words))
runpy.run_module("tools.image", run_name="__main__")
"""


@pytest.fixture
def other_host(tmp_path_factory):
    """A folder with a copy of the tools, as another person's checkout would be."""
    has_room = os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_NEEDED
    base = MEMORY if has_room else tmp_path_factory.getbasetemp()
    folder = base / f"another host of {os.getpid()}"
    ignored = shutil.ignore_patterns("__pycache__")
    for source in (TOOLS, GEN):
        shutil.copytree(source, folder / source.relative_to(BUILD.parent), ignore=ignored)
    (folder / "build/cache").symlink_to(CACHE.resolve())
    _make_private(folder)
    yield folder
    shutil.rmtree(folder)


def _make_private(folder):
    """Give all to another user, with the modes that his umask of 077 makes."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(path.stat().st_mode & 0o700)
            if OTHER_USER:
                os.chown(path, NOBODY, NOBODY)


def test_another_host_builds_the_same_bytes(other_host):
    here = build_image()
    done = subprocess.run(
        [sys.executable, "-c", BACKWARDS],
        cwd=other_host,
        env=ELSEWHERE | {"PYTHONPATH": str(other_host)},
        umask=0o077,
        capture_output=True,
        text=True,
        **OTHER_USER,
    )
    assert done.returncode == 0, done.stderr
    there = {name: other_host / path.relative_to(BUILD.parent) for name, path in _parts(here)}
    assert {name: _sha256(path) for name, path in there.items()} == {
        name: _sha256(path) for name, path in _parts(here)
    }


def _parts(image):
    return [
        *asdict(image).items(),
        ("domu_ramdisk", image.initramfs.with_name("domu-initramfs.cpio")),
    ]


def _sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
