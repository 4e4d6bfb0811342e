"""The ramdisks: dom0's, which finds the root disk, and a Linux domU's, its whole user space.

Both are a static busybox, an init script and kernel modules.
"""

from pathlib import Path

from tools.image.cpio import Cpio
from tools.image.drivers import DOMU_NAMES, boot_modules
from tools.image.kernel import Kernel, copy_modules
from tools.image.userspace import FILES, UserSpace
from tools.setup.paths import IMAGE

DOM0 = IMAGE / "initramfs.cpio"
DOMU = IMAGE / "domu-initramfs.cpio"


def dom0_ramdisk(stock: Kernel, user_space: UserSpace) -> None:
    """Write dom0's ramdisk, uncompressed: unpacking costs a guest under TCG more than reading."""
    DOM0.write_bytes(_ramdisk(stock, user_space, FILES / "boot/init", boot_modules(stock)))


def domu_ramdisk(stock: Kernel, user_space: UserSpace) -> None:
    """Write the ramdisk of the stock Linux domU."""
    DOMU.write_bytes(_ramdisk(stock, user_space, FILES / "domu/init", DOMU_NAMES))


def _ramdisk(stock: Kernel, user_space: UserSpace, init: Path, modules: tuple[str, ...]) -> bytes:
    archive = Cpio()
    archive.character_device("dev/console", 5, 1)
    archive.file("init", init.read_bytes(), 0o755)
    archive.file("bin/busybox", user_space.busybox.read_bytes(), 0o755)
    archive.link("sbin", "bin")
    staging = IMAGE / "staging" / init.parent.name
    copy_modules(stock, modules, staging, user_space)
    for file in sorted((staging / "usr/lib/modules").rglob("*")):
        if file.is_file() and file.suffix != ".bin":
            archive.file(str(file.relative_to(staging / "usr")), file.read_bytes())
    return archive.bytes()
