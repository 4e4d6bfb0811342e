"""Makes ext4 images from folders, without root and without mounting; all in them is root's."""

from pathlib import Path

from tools.image.userspace import UserSpace

BLOCK = 4096


def make_ext4(image: Path, label: str, folder: Path, spare_mib: int, user_space: UserSpace) -> None:
    """Write folder's tree as an ext4 file system, with dom0's own mke2fs.

    Args: spare_mib, free space beyond the contents.
    """
    blocks = sum(_blocks(file) for file in folder.rglob("*"))
    size = blocks * 21 // 20 * BLOCK + (spare_mib + 4) * 2**20
    image.unlink(missing_ok=True)  # a running machine keeps the old one
    with image.open("wb") as file:
        file.truncate(size // BLOCK * BLOCK)
    options = ["-q", "-t", "ext4", "-L", label, "-b", str(BLOCK), "-m", "0", "-I", "256"]
    # No journal, as each run starts from the same image; and lazy initialisation would write to it.
    options += ["-O", "^has_journal,^resize_inode", "-E", "lazy_itable_init=0,nodiscard"]
    user_space.run("mke2fs", *options, "-d", str(folder), str(image))


def _blocks(file: Path) -> int:
    """Return how many blocks a file takes, its share of inode table included."""
    return 1 + (-(-file.lstat().st_size // BLOCK) if file.is_file() else 1)
