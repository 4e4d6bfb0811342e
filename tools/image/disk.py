"""Makes ext4 images from folders, without root and without mounting; all in them is root's.

Equal contents give equal bytes, whoever builds where and when: files are added one by one in the
order of their names, with a fixed time and one of two modes, by dom0's own e2fsprogs.
"""

import tempfile
import uuid
from collections.abc import Iterator
from pathlib import Path

from tools.image.tree import Entries, entries_of, is_program
from tools.image.userspace import UserSpace
from tools.setup.progress import fail

BLOCK = 4096
TIME = 1_767_225_600  # of every file: 2026-01-01
NAMESPACE = uuid.UUID("5ab6a2f5-0a43-4d5c-8c43-6b6a7f3d6c0e")
FILE, PROGRAM = "0100644", "0100755"


def make_ext4(
    image: Path, label: str, folders: list[Path], spare_mib: int, user_space: UserSpace
) -> None:
    """Write the trees of folders, laid over each other, as an ext4 file system.

    Args: spare_mib, free space beyond the contents.
    """
    entries = entries_of(folders)
    size = sum(map(_blocks, entries.values())) * 21 // 20 * BLOCK + (spare_mib + 4) * 2**20
    image.unlink(missing_ok=True)  # a running machine keeps the old one
    with image.open("wb") as file:
        file.truncate(size // BLOCK * BLOCK)
    environment = {"E2FSPROGS_FAKE_TIME": str(TIME)}
    user_space.run("mke2fs", *_options(label), str(image), **environment)
    with tempfile.NamedTemporaryFile("w", suffix=".debugfs") as script:
        script.writelines(f"{line}\n" for line in _commands(entries))
        script.flush()
        _, said = user_space.run("debugfs", "-w", "-f", script.name, str(image), **environment)
    complaints = [line for line in said.splitlines() if not line.startswith("debugfs 1.")]
    if complaints:
        raise fail(f"debugfs could not fill {image}: {complaints[0]}")


def _options(label: str) -> list[str]:
    name = str(uuid.uuid5(NAMESPACE, label))
    options = ["-q", "-t", "ext4", "-L", label, "-b", str(BLOCK), "-m", "0", "-I", "256"]
    # No journal, as each run starts from the same image; and lazy initialisation would write to it.
    options += ["-U", name, "-O", "^has_journal,^resize_inode"]
    return [*options, "-E", f"lazy_itable_init=0,nodiscard,hash_seed={name}"]


def _commands(entries: Entries) -> Iterator[str]:
    """Yield what debugfs is to do for each entry, folders before what is in them."""
    for name, source in entries.items():
        place = _quoted(f"/{name}")
        if source.is_symlink():
            yield f"symlink {place} {_quoted(str(source.readlink()))}"
        elif source.is_dir():
            yield f"mkdir {place}"
        else:
            yield f"write {_quoted(str(source))} {place}"
            yield f"set_inode_field {place} mode {PROGRAM if is_program(source) else FILE}"


def _quoted(word: str) -> str:
    return '"' + word.replace('"', '""') + '"'


def _blocks(file: Path) -> int:
    """Return how many blocks a file takes, its share of inode table included."""
    return 1 + (-(-file.lstat().st_size // BLOCK) if file.is_file() else 1)
