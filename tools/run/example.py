"""`make run`: the example kernel reads a file from a real disk, through dom0's Linux.

The disk is an image of ours that the machine has as its third disk, so dom0 reads it with its own
driver, and what the example wrote is on our side when the machine is gone.
"""

import hashlib
import io
import os
import subprocess
import sys
import tarfile
from pathlib import Path

from tools.image.build import Image
from tools.qemu.config import Disk
from tools.qemu.hosts import default_kind, dom0_machine
from tools.run.boot import boot_to_xend
from tools.setup.paths import BUILD, ROOT
from tools.setup.progress import say

EXAMPLES = ROOT / "libos/examples"
CONFIG = EXAMPLES / "readfile.cfg"
KERNEL = BUILD / "readfile.elf"
TEXT = EXAMPLES / "welcome.txt"
DISK = BUILD / "example/disk.img"
DISK_BYTES = 2**20
SECTOR = 512
WRITTEN = bytes(i % 251 for i in range(SECTOR))  # what readfile.py puts into the last sector
NOT_WRITTEN = 1


def run_example(image: Image) -> int:
    """Boot, run the example in a domain of its own, and stop.

    Returns: the domain's exit code; 1 if its block is not on the disk though it said 0.
    """
    make_disk(DISK)
    disks = (Disk(DISK, scratch=False),)
    machine = boot_to_xend(dom0_machine(default_kind(), "run", image, disks=disks))
    try:
        code = run_domain(machine.port())
    finally:
        machine.stop()
    say(f"the domain ended with {code}; traces: {machine.folder.relative_to(ROOT)}")
    return code or check_disk(DISK)


def make_disk(path: Path) -> None:
    """Write a disk with a tar archive of one text file at its start, and zeroes after it."""
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        entry = tarfile.TarInfo(TEXT.name)
        entry.size = TEXT.stat().st_size
        tar.addfile(entry, io.BytesIO(TEXT.read_bytes()))
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(archive.getvalue().ljust(DISK_BYTES, b"\0"))


def run_domain(port: int) -> int:
    """Run `xm run` on the example's domain file.

    Returns: the domain's exit code, which is xm's.
    """
    environment = os.environ | {"PROXEN_URL": f"http://127.0.0.1:{port}"}
    command = [sys.executable, ROOT / "xm", "run", CONFIG]
    return subprocess.run(command, env=environment, stdin=subprocess.DEVNULL).returncode


def check_disk(path: Path) -> int:
    """Tell whether the last sector is what the example wrote: 0, or NOT_WRITTEN."""
    last = path.read_bytes()[-SECTOR:]
    digest = hashlib.sha256(last).hexdigest()[:16]
    if last != WRITTEN:
        say(f"the disk's last sector is not what the domain wrote; its sha256 is {digest}…")
        return NOT_WRITTEN
    say(f"the block that the domain wrote is on the disk, sha256 {digest}…")
    return 0
