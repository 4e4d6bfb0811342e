"""What the medium holds beside GRUB: the core, dom0's kernel, its ramdisk, its root file system.

The root file system stays as it is on the medium; what dom0 writes goes to memory. It is that of
dom0's disk with other logins, less the room to write.
"""

import shutil
from pathlib import Path

from tools.image import kernel, ramdisk, toolstack
from tools.image.disk import make_ext4
from tools.image.userspace import UserSpace
from tools.setup.paths import CORE, VMLINUX, VMLINUZ

FILES = Path(__file__).with_name("files")
ROOT_LABEL = "proxen-medium"


def write_contents(staging: Path, user_space: UserSpace) -> dict[str, Path]:
    """Write what is made for the medium into the staging folder, emptied first.

    Returns: {path on the medium: file}.
    """
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    root = staging / "root.img"
    make_ext4(root, ROOT_LABEL, [user_space.tree, kernel.MODULES, FILES / "root"], 0, user_space)
    return {
        "boot/proxen.bin": CORE,
        "boot/vmlinux": VMLINUX,
        "boot/vmlinuz": VMLINUZ,
        "boot/ramdisk": ramdisk.DOM0,
        "proxen/root.img": root,
        "proxen/opt.img": toolstack.DISK,
    }
