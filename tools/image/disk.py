"""Makes ext4 images from folders, without root and without mounting.

Everything in the image belongs to root: a builder who is not root enters a user namespace in which he looks like it.
"""

import os
import subprocess
from pathlib import Path

BLOCK = 4096


def make_ext4(image: Path, label: str, folder: Path, spare_mib: int) -> None:
    """Write folder's tree as an ext4 file system.

    Args: spare_mib, free space beyond the contents.
    """
    blocks = sum(_blocks(file) for file in folder.rglob("*"))
    size = blocks * 21 // 20 * BLOCK + (spare_mib + 4) * 2**20
    image.unlink(missing_ok=True)
    with image.open("wb") as file:
        file.truncate(size // BLOCK * BLOCK)
    command = ["mke2fs", "-q", "-t", "ext4", "-L", label, "-b", str(BLOCK), "-m", "0", "-I", "256"]
    # No journal: each run starts from the same image, and lazy initialisation would write to it at boot.
    options = ["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=0,nodiscard"]
    subprocess.run([*as_root(), *command, *options, "-d", folder, image], check=True)


def as_root() -> list[str]:
    """Return the command prefix under which our files look as if they were root's."""
    return [] if os.geteuid() == 0 else ["unshare", "--map-root-user"]


def _blocks(file: Path) -> int:
    """Return how many blocks a file takes, its share of inode table included."""
    return 1 + (-(-file.lstat().st_size // BLOCK) if file.is_file() else 1)
