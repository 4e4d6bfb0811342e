"""Builds all that dom0 boots from; each part only when its inputs changed."""

import fcntl
import shutil
from dataclasses import dataclass
from pathlib import Path

from tools.image import disk, drivers, kernel, ramdisk, toolstack
from tools.image.userspace import FILES, STAMP, UserSpace, user_space
from tools.setup.paths import BUILD, IMAGE, VMLINUX, VMLINUZ
from tools.setup.progress import fail, step
from tools.setup.stamp import Stamp, fingerprint

ROOT_DISK = IMAGE / "root.img"
ROOT_LABEL = "proxen-root"
SPARE_MIB = 256  # for domain images, kernels and logs that dom0 writes


@dataclass(frozen=True)
class Image:
    """What a machine boots dom0 from."""

    vmlinuz: Path
    vmlinux: Path
    initramfs: Path
    root_disk: Path
    toolstack_disk: Path

    @property
    def disks(self) -> tuple[Path, Path]:
        """The disks in the order in which dom0 sees them."""
        return self.root_disk, self.toolstack_disk


def build_image() -> Image:
    """Build or find the dom0 image; one builder at a time, the next one finds it done.

    Returns: the paths of its parts.
    Errors: SystemExit, a package cannot be had, or there is no space or right to write.
    """
    try:
        BUILD.mkdir(exist_ok=True)
        with (BUILD / "image.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return _build_image()
    except OSError as error:
        raise fail(f"cannot build dom0's image: {error}") from None


def _build_image() -> Image:
    tree = user_space()
    stock = kernel.stock_kernel(tree)
    names = "\n".join([stock.debs.digest, STAMP.read_text()])
    digest = fingerprint(names, FILES, *Path(__file__).parent.glob("*.py"))
    products = (ROOT_DISK, VMLINUZ, VMLINUX, ramdisk.DOM0, ramdisk.DOMU)
    stamp = Stamp(IMAGE / "image.stamp", *products)
    if not stamp.fresh(digest):
        stamp.forget()
        with step(f"build dom0's image, Linux {stock.release}"):
            _build(stock, tree)
        stamp.record(digest)
    toolstack.toolstack_disk(tree)
    return Image(VMLINUZ, VMLINUX, ramdisk.DOM0, ROOT_DISK, toolstack.DISK)


def _build(stock: kernel.Kernel, tree: UserSpace) -> None:
    for folder in (IMAGE / "staging", kernel.MODULES):
        shutil.rmtree(folder, ignore_errors=True)
    kernel.write_images(stock)
    ramdisk.dom0_ramdisk(stock, tree)
    ramdisk.domu_ramdisk(stock, tree)
    kernel.copy_modules(stock, drivers.dom0_modules(stock), kernel.MODULES, tree)
    disk.make_ext4(ROOT_DISK, ROOT_LABEL, [tree.tree, kernel.MODULES], SPARE_MIB, tree)
