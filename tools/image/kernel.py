"""The stock Debian kernel: its image, the ELF file in it, the modules that dom0 and a domU need.

Every file stays byte-identical with the package; only which modules come along is our choice.
"""

import lzma
import shutil
from pathlib import Path, PurePosixPath

from tools.image.bzimage import elf_kernel
from tools.image.debian.suites import SUITES, unknown_release
from tools.image.packages import Debs, kernel
from tools.image.unpack import unpack
from tools.image.userspace import UserSpace
from tools.setup.paths import CACHE, DOM0, IMAGE, VMLINUX, VMLINUZ
from tools.setup.progress import step
from tools.setup.stamp import Stamp, fingerprint

ONLY_OLDER = ("crc32c_generic", "crc32c-intel")  # since Linux 6.14 what they did is in the library
MODULES = IMAGE / "modules"  # those on dom0's root disk


class Kernel:
    """The unpacked packages of a kernel."""

    def __init__(self, debs: Debs) -> None:
        self.debs = debs
        self.tree = CACHE / "kernel" / debs.digest[:16]
        self._needs: dict[str, list[str]] | None = None

    @property
    def release(self) -> str:
        """The kernel's release, as `uname -r` prints it."""
        return self.folder.name

    @property
    def folder(self) -> Path:
        """The folder of its modules."""
        (folder,) = (self.tree / "usr/lib/modules").iterdir()
        return folder

    @property
    def vmlinuz(self) -> Path:
        """The kernel image as Debian ships it: beside its modules in newer releases."""
        (image,) = (*self.tree.glob("boot/vmlinuz-*"), *self.folder.glob("vmlinuz"))
        return image

    def modules(self, *names: str) -> list[Path]:
        """Return the files of modules and of what they need, in loading order, relative paths.

        Errors: KeyError, the kernel has no such module, neither built in nor as a file, and no
                older one had it.
        """
        needs = self._dependencies()
        built_in = {_name(line) for line in (self.folder / "modules.builtin").read_text().split()}
        by_name = {_name(path): path for path in needs}
        order: dict[str, None] = {}
        for name in names:
            if _name(name) in by_name:
                path = by_name[_name(name)]
                order.update(dict.fromkeys([*reversed(needs[path]), path]))
            elif _name(name) not in built_in and name not in ONLY_OLDER:
                raise KeyError(f"{self.release} has no module {name}")
        return [Path(path) for path in order]

    def below(self, folders: tuple[str, ...], without: tuple[str, ...]) -> list[str]:
        """Return the names of all modules below folders of kernel/, but for those that are or need
        one below a folder of `without`.
        """
        inside = tuple(f"kernel/{folder}/" for folder in folders)
        outside = tuple(f"kernel/{folder}/" for folder in without)
        return [
            _name(path)
            for path, needs in self._dependencies().items()
            if path.startswith(inside) and not any(n.startswith(outside) for n in (path, *needs))
        ]

    def _dependencies(self) -> dict[str, list[str]]:
        """Return modules.dep as {module: all that it needs, nearest first}."""
        if self._needs is None:
            lines = (self.folder / "modules.dep").read_text().splitlines()
            pairs = (line.split(":", 1) for line in lines)
            self._needs = {path: needs.split() for path, needs in pairs}
        return self._needs


def stock_kernel(user_space: UserSpace) -> Kernel:
    """Return the kernel that DOM0 names, unpacked into the cache, its modules indexed."""
    if DOM0 not in SUITES:
        raise unknown_release()
    found = Kernel(kernel(DOM0))
    stamp = Stamp(found.tree.with_suffix(".stamp"), found.tree)
    digest = fingerprint(found.debs.digest)
    if not stamp.fresh(digest):
        stamp.forget()
        shutil.rmtree(found.tree, ignore_errors=True)
        with step(f"unpack {found.debs}"):
            for deb in found.debs.files:
                unpack(deb, found.tree, _kernel_file)
            depmod(user_space, found.tree, found.release)
        stamp.record(digest)
    return found


def depmod(user_space: UserSpace, base: Path, release: str) -> None:
    """Index the modules below base/lib/modules/release: their needs, the devices they drive."""
    lib = base / "lib"
    if not lib.exists():
        lib.symlink_to("usr/lib")
    user_space.run("depmod", "-b", str(base), release)


def write_images(stock: Kernel) -> None:
    """Put the kernel into the image folder: as shipped, and as the ELF file inside it."""
    IMAGE.mkdir(parents=True, exist_ok=True)
    image = stock.vmlinuz.read_bytes()
    VMLINUZ.write_bytes(image)
    VMLINUX.write_bytes(elf_kernel(image))


def copy_modules(stock: Kernel, names: tuple[str, ...], base: Path, user_space: UserSpace) -> None:
    """Copy modules and what they need below base/usr/lib/modules, and index the copy.

    Those that are shipped packed are unpacked: dom0 loads them without spending its time on that.
    """
    target = base / "usr/lib/modules" / stock.release
    for path in stock.modules(*names):
        place = target / path.parent / f"{path.name.partition('.')[0]}.ko"
        place.parent.mkdir(parents=True, exist_ok=True)
        contents = (stock.folder / path).read_bytes()
        place.write_bytes(lzma.decompress(contents) if path.suffix == ".xz" else contents)
    for index in ("modules.builtin", "modules.builtin.modinfo", "modules.order"):
        shutil.copyfile(stock.folder / index, target / index)
    depmod(user_space, base, stock.release)


def _kernel_file(path: PurePosixPath) -> bool:
    return path.parts[:1] == ("boot",) or path.parts[:3] == ("usr", "lib", "modules")


def _name(path: str) -> str:
    """Return a module's name as the kernel knows it: xen-blkback.ko is xen_blkback."""
    return Path(path).name.partition(".")[0].replace("-", "_")
