"""dom0's whole user space as one ramdisk, for runs that must be repeatable.

A disk answers when the host got round to it, so after a number of guest instructions that no two
runs share. With root, toolstack and the domain's files in memory nothing is left to wait for. The
kernel unpacks archives that follow each other in one file, so a run's own files are a second one.
"""

import re
from pathlib import Path

from tools.image import toolstack
from tools.image.cpio import Cpio
from tools.image.kernel import MODULES
from tools.image.tree import Entries, entries_of, is_program
from tools.image.userspace import FILES, STAMP
from tools.setup.paths import IMAGE, USER_SPACE
from tools.setup.progress import step
from tools.setup.stamp import Stamp, fingerprint

RAM_ROOT = IMAGE / "ram-root.cpio"
OPT = "opt/proxen"
JOB = "job"
# What such a machine has no use for: drivers of hardware, kernels for other domains.
KEPT = r"drivers/(xen/|block/(xen|loop)|net/(xen|tun))|net/(802|bridge|llc|packet)/"
LEFT_OUT = re.compile(rf"/modules/[^/]+/kernel/(?!{KEPT})|opt/proxen/guests/")


def ram_root() -> Path:
    """Write the archive of dom0's user space if a part of it changed; the image must be built.

    Returns: its path.
    """
    stamps = (IMAGE / "image.stamp", IMAGE / "opt.stamp", STAMP)
    made_from = [stamp.read_text() for stamp in stamps]
    digest = fingerprint(*made_from, FILES / "ram", Path(__file__))
    stamp = Stamp(IMAGE / "ram-root.stamp", RAM_ROOT)
    if not stamp.fresh(digest):
        stamp.forget()
        with step("pack dom0's user space into a ramdisk"):
            RAM_ROOT.write_bytes(_archive())
        stamp.record(digest)
    return RAM_ROOT


def with_job(target: Path, files: dict[str, Path | bytes]) -> Path:
    """Write the ramdisk of one run: dom0's user space, and the run's files below /job.

    Args: files, contents or their paths by name; `run` is the script that dom0 starts when it is
          ready.
    """
    archive = Cpio()
    for name, data in files.items():
        contents = data.read_bytes() if isinstance(data, Path) else data
        archive.file(f"{JOB}/{name}", contents, 0o755 if name == "run" else 0o644)
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(ram_root().read_bytes() + archive.bytes())
    return target


def _archive() -> bytes:
    archive = Cpio()
    archive.file("init", (FILES / "ram/init").read_bytes(), 0o755)
    archive.folder("dev")
    archive.character_device("dev/console", 5, 1)
    _add(archive, entries_of([USER_SPACE, MODULES]), "")
    _add(archive, entries_of([toolstack.TREE]), OPT)
    return archive.bytes()


def _add(archive: Cpio, entries: Entries, place: str) -> None:
    """Add the contents of folders below `place`."""
    for below, path in entries.items():
        name = str(Path(place, below))
        if LEFT_OUT.search(name):
            continue
        if path.is_symlink():
            archive.link(name, str(path.readlink()))
        elif path.is_dir():
            archive.folder(name)
        else:
            archive.file(name, path.read_bytes(), 0o755 if is_program(path) else 0o644)
