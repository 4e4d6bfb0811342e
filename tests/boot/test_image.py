"""The dom0 image is Debian's: kernel and modules byte for byte, and it is made without root."""

import hashlib
import lzma
import os
import subprocess
from pathlib import Path, PurePosixPath

import pytest
import xen_codecs as abi
import zstandard
from dwarf.source import Frame, SourceMap
from xend.elf import read_kernel

from tools.image import packages
from tools.image.build import ROOT_DISK, build_image
from tools.image.bzimage import payload
from tools.image.debian.archive import members
from tools.image.disk import make_ext4
from tools.image.kernel import stock_kernel
from tools.image.unpack import merged
from tools.image.userspace import user_space
from tools.setup.paths import DOM0, IMAGE

ZSTD = b"\x28\xb5\x2f\xfd"


@pytest.fixture(scope="module")
def image():
    return build_image()


@pytest.fixture(scope="module")
def tree():
    return user_space()


@pytest.fixture(scope="module")
def package_sums():
    """{path of a file of the kernel's: md5 sum}, as the packages record them, in a merged /usr."""
    sums = {}
    for deb in packages.kernel(DOM0).files:
        for path, _, contents in members(deb, "control"):
            if path.name == "md5sums":
                lines = contents.read().decode().splitlines()
                pairs = (line.split(maxsplit=1) for line in lines)
                sums |= {str(merged(PurePosixPath(name))): digest for digest, name in pairs}
    return sums


def assert_shipped(tree, sums, module, place):
    """Check that a module is the package's, whose own may be packed with XZ."""
    if place in sums:
        assert _md5(module) == sums[place], place
    else:
        packed = stock_kernel(tree).tree / f"{place}.xz"
        assert _md5(packed) == sums[f"{place}.xz"], place
        assert module.read_bytes() == lzma.decompress(packed.read_bytes()), place


def test_programs_of_the_tree_run_with_its_own_loader_and_library(tree):
    """A loader of another release does not fit the tree's C library."""
    assert tree.loader.resolve().is_relative_to(tree.tree.resolve())
    code = "print(*{line[73:] for line in open('/proc/self/maps') if '.so' in line}, sep='')"
    said, _ = tree.run("python3.11", "-S", "-c", code, PYTHONHOME=str(tree.tree / "usr"))
    libraries = [name for name in said.split("\n") if name]
    assert libraries and all(name.startswith(f"{tree.tree}/") for name in libraries)


def test_vmlinuz_is_the_packages(image, package_sums):
    (path,) = (path for path in package_sums if Path(path).name.startswith("vmlinuz"))
    assert _md5(image.vmlinuz) == package_sums[path]


def test_vmlinux_is_the_payload_of_vmlinuz(image):
    packed = payload(image.vmlinuz.read_bytes())
    assert int.from_bytes(packed[-4:], "little") == image.vmlinux.stat().st_size
    elf = zstd(packed) if packed.startswith(ZSTD) else lzma.LZMADecompressor().decompress(packed)
    assert elf[:4] == b"\x7fELF"
    assert hashlib.sha256(elf).digest() == hashlib.sha256(image.vmlinux.read_bytes()).digest()


def zstd(packed):
    return zstandard.ZstdDecompressor().stream_reader(packed[:-4]).read()


def test_modules_on_the_root_disk_are_the_packages(image, tree, package_sums, tmp_path):
    tree.run("debugfs", "-R", f"rdump /usr/lib/modules {tmp_path}", str(ROOT_DISK))
    modules = list(tmp_path.rglob("*.ko"))
    assert {"xen-blkback.ko", "xen-netback.ko", "ext4.ko"} <= {path.name for path in modules}
    for module in modules:
        assert_shipped(tree, package_sums, module, f"usr/lib/{module.relative_to(tmp_path)}")


@pytest.mark.parametrize("ramdisk", ["initramfs.cpio", "domu-initramfs.cpio"])
def test_ramdisk_is_a_cpio_archive_with_stock_modules(image, tree, package_sums, tmp_path, ramdisk):
    with (IMAGE / ramdisk).open("rb") as archive:
        command = [tree.busybox, "cpio", "-id", "lib/*", "init", "bin/*"]
        subprocess.run(command, cwd=tmp_path, stdin=archive, check=True, capture_output=True)
    assert (tmp_path / "init").stat().st_mode & 0o111
    modules = list(tmp_path.rglob("*.ko"))
    assert modules
    for module in modules:
        assert_shipped(tree, package_sums, module, f"usr/{module.relative_to(tmp_path)}")


def test_a_second_build_changes_nothing(image):
    before = [path.stat().st_mtime_ns for path in (*image.disks, image.initramfs, image.vmlinux)]
    again = build_image()
    assert [
        path.stat().st_mtime_ns for path in (*again.disks, again.initramfs, again.vmlinux)
    ] == before


def test_what_a_host_stores_sparsely_shows_nowhere(tree, tmp_path):
    """A file system may keep holes, or fill them: the same image comes of both."""
    images = []
    for name in ("sparse", "full"):
        folder, image = tmp_path / name, tmp_path / f"{name}.img"
        folder.mkdir()
        with (folder / "file").open("wb") as file:
            file.write(b"start")
            if name == "sparse":
                file.seek(1 << 20)
            else:
                file.write(bytes((1 << 20) - 5))
            file.write(b"end")
        make_ext4(image, "label", [folder], 1, tree)
        images.append(hashlib.sha256(image.read_bytes()).hexdigest())
    assert images[0] == images[1]


def test_a_disk_that_is_too_small_is_one_sentence(tree, tmp_path, monkeypatch):
    (tmp_path / "file").write_bytes(os.urandom(8 << 20))
    monkeypatch.setattr("tools.image.disk._blocks", lambda _file: 1)
    with pytest.raises(SystemExit, match="could not fill .*i.img: write: Could not allocate"):
        make_ext4(tmp_path / "i.img", "label", [tmp_path], 0, tree)


def _md5(path) -> str:
    return hashlib.md5(path.read_bytes()).hexdigest()


def test_linux_functions_are_known_by_name(image):
    """The stock kernel has no symbol table but its own, which Xen's notes confirm in two places."""
    source, kernel = SourceMap(image.vmlinux), read_kernel(image.vmlinux)
    assert source.find(kernel.entry) == [Frame("startup_xen", 0, None, 0)]
    pvh = int.from_bytes(kernel.notes[abi.XEN_ELFNOTE_PHYS32_ENTRY][:4], "little")
    assert source.find(kernel.virt_base + pvh)[0].function == "pvh_start_xen"
    functions = {function.name: function for function in source.functions}
    assert {"start_kernel", "schedule", "default_idle", "panic"} <= functions.keys()
    assert len(functions) > 30_000


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "build").write_text("a file where the folder should be")
    monkeypatch.setattr("tools.image.build.BUILD", tmp_path / "build")
    with pytest.raises(SystemExit, match="proxen: cannot build dom0's image: .*/build"):
        build_image()
