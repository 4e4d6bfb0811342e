"""The second disk, /opt/proxen in dom0: our daemons, the generated ABI codecs, and guests to start.

Apart from the root disk so that a change in a daemon reaches dom0 in a second or two.
"""

import shutil
from pathlib import Path

from tools.image.disk import make_ext4
from tools.image.ramdisk import DOMU
from tools.image.userspace import UserSpace
from tools.setup.paths import GEN, IMAGE, TOOLS, VMLINUZ
from tools.setup.stamp import Stamp, fingerprint

DISK = IMAGE / "opt.img"
LABEL = "proxen-opt"
TREE = IMAGE / "opt"
PACKAGES = ("xen*", "xm", "web", "dwarf")  # folders of tools/ that run in dom0


def sources() -> list[Path]:
    """Return the Python packages of tools/ that run in dom0."""
    found = (folder for pattern in PACKAGES for folder in TOOLS.glob(pattern))
    return sorted(folder for folder in found if folder.is_dir())


def codecs() -> list[Path]:
    """Return the generated modules that the toolstack imports."""
    return sorted(GEN.glob("xen_*.py"))


def toolstack_disk(user_space: UserSpace) -> Path:
    """Write the toolstack's disk if a daemon, a codec or a guest changed.

    Returns: the image.
    """
    digest = fingerprint(*sources(), *codecs(), VMLINUZ, DOMU, Path(__file__))
    stamp = Stamp(IMAGE / "opt.stamp", DISK)
    if not stamp.fresh(digest):
        stamp.forget()
        _copy()
        user_space.byte_compile(TREE)
        make_ext4(DISK, LABEL, [TREE], spare_mib=1, user_space=user_space)
        stamp.record(digest)
    return DISK


def _copy() -> None:
    shutil.rmtree(TREE, ignore_errors=True)
    TREE.mkdir(parents=True)
    ignored = shutil.ignore_patterns("__pycache__", "*.pyc")
    for folder in sources():
        shutil.copytree(folder, TREE / folder.name, ignore=ignored)
    for module in codecs():
        shutil.copyfile(module, TREE / module.name)
    guests = TREE / "guests"
    guests.mkdir()
    shutil.copyfile(VMLINUZ, guests / "vmlinuz")
    shutil.copyfile(DOMU, guests / "initramfs")
