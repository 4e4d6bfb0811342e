"""GRUB and the programs that make boot media: Debian packages in a folder, like dom0's programs."""

import shutil
from pathlib import Path

from tools.image.packages import fetched
from tools.image.unpack import unpack
from tools.image.userspace import UserSpace
from tools.setup.paths import BUILD
from tools.setup.progress import step
from tools.setup.stamp import Stamp, fingerprint

SUITE = "bookworm"
TREE = BUILD / "boot-tools"
UEFI = BUILD / "uefi"


def boot_tools() -> UserSpace:
    """Return the tree of GRUB, mtools and xorriso; unpacked when the packages changed."""
    return UserSpace(_unpacked(TREE, "boot-media"))


def uefi() -> Path:
    """Return the folder of a UEFI for QEMU: its code, and its variables as they are at first."""
    return _unpacked(UEFI, "uefi") / "usr/share/OVMF"


def _unpacked(tree: Path, name: str) -> Path:
    debs = fetched(SUITE, name)
    stamp = Stamp(tree.with_suffix(".stamp"), tree)
    digest = fingerprint(debs.digest)
    if not stamp.fresh(digest):
        stamp.forget()
        shutil.rmtree(tree, ignore_errors=True)
        with step(f"unpack {debs}"):
            for deb in debs.files:
                unpack(deb, tree, lambda path: path.parts[:3] != ("usr", "share", "doc"))
        stamp.record(digest)
    return tree
