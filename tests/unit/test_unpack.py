"""Unpacking packages of any release: merged /usr, three ways of packing, and entries that lie."""

import gzip
import lzma
import os
import tarfile

import pytest
import zstandard

from tests.unit.debian_mirror import deb_of, tar_of
from tools.image.debian.archive import members
from tools.image.unpack import needed, unpack


def entry(name, kind, link="", mode=0o755):
    """Return (name, entry) of what is no file."""
    found = tarfile.TarInfo(name)
    found.type, found.linkname, found.mode = kind, link, mode
    return name, found


def symlink(name, target):
    return entry(name, tarfile.SYMTYPE, target)


def unpacked(tmp_path, *entries):
    """Unpack a package of these entries into a tree like dom0's; return the tree."""
    tree = tmp_path / "tree"
    for name in ("bin", "sbin", "lib", "lib64"):
        (tree / "usr" / name).mkdir(parents=True)
        (tree / name).symlink_to(f"usr/{name}")
    unpack(_file(tmp_path, *entries), tree, needed)
    return tree


def _file(tmp_path, *entries, **options):
    file = tmp_path / "a.deb"
    file.write_bytes(deb_of(*entries, **options))
    return file


def refusal(tmp_path, *entries):
    """Return the one sentence that a package is refused with."""
    with pytest.raises(SystemExit) as error:
        unpacked(tmp_path, *entries)
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("ending", "pack"),
    [
        (".xz", lzma.compress),
        (".zst", zstandard.ZstdCompressor().compress),
        (".gz", gzip.compress),
        ("", bytes),
    ],
)
def test_each_way_of_packing_is_read(tmp_path, ending, pack):
    plain = tar_of(("./usr/bin/tool", b"contents" * 10_000), mode="w")
    file = _file(tmp_path, data=pack(plain), ending=ending)
    ((path, _, contents),) = ((p, e, c.read()) for p, e, c in members(file))
    assert (str(path), contents) == ("usr/bin/tool", b"contents" * 10_000)


def test_another_way_of_packing_is_named(tmp_path):
    file = _file(tmp_path, data=b"?", ending=".br")
    with pytest.raises(SystemExit, match=r"data\.tar\.br is packed in a way that is not known"):
        list(members(file))


@pytest.mark.parametrize("length", [0, 4, 40, 300, -20])
def test_a_damaged_package_is_one_sentence(tmp_path, length):
    file = _file(tmp_path, ("./usr/bin/tool", bytes(range(256)) * 40))
    file.write_bytes(file.read_bytes()[:length])
    with pytest.raises(SystemExit, match=r"a\.deb is damaged .*`make build` fetches it"):
        list(members(file))


def test_files_of_the_old_places_land_below_usr(tmp_path):
    tree = unpacked(tmp_path, ("./bin/tool", b"1"), ("./lib/x86/lib.so", b"2"))
    assert (tree / "usr/bin/tool").read_bytes() == b"1"
    assert (tree / "lib/x86/lib.so").read_bytes() == b"2"


def test_a_package_that_ships_the_merged_folders_as_links_is_unpacked(tmp_path):
    folders = [entry("./", tarfile.DIRTYPE), entry("./usr/bin", tarfile.DIRTYPE)]
    links = [symlink(f"./{name}", f"usr/{name}") for name in ("bin", "sbin", "lib", "lib64")]
    tree = unpacked(tmp_path, *folders, *links, ("./usr/bin/tool", b"1"))
    assert (tree / "bin").readlink().as_posix() == "usr/bin"
    assert (tree / "bin/tool").read_bytes() == b"1"


def test_a_hard_link_follows_its_file_below_usr(tmp_path):
    tree = unpacked(
        tmp_path, ("./bin/tool", b"1"), entry("./bin/other", tarfile.LNKTYPE, "./bin/tool")
    )
    assert (tree / "usr/bin/other").read_bytes() == b"1"


def test_modes_are_those_of_the_package_whatever_the_umask(tmp_path):
    program = tarfile.TarInfo("./usr/bin/tool")
    program.mode = 0o4750
    before = os.umask(0o077)
    try:
        tree = unpacked(tmp_path, ("./usr/bin/tool", program), ("./usr/data", b""))
    finally:
        os.umask(before)
    modes = [(tree / name).stat().st_mode & 0o7777 for name in ("usr/bin/tool", "usr/data")]
    assert modes == [0o755, 0o644]


@pytest.mark.parametrize("name", ["../outside", "./usr/../../outside", "/tmp/outside"])
def test_a_path_that_leaves_the_tree_is_refused(tmp_path, name):
    assert "would land outside of the tree" in refusal(tmp_path, (name, b"evil"))
    assert not (tmp_path / "outside").exists()


@pytest.mark.parametrize("target", ["..", "/tmp", "../../.."])
def test_a_file_through_a_link_that_leaves_the_tree_is_refused(tmp_path, target):
    entries = symlink("./usr/away", f"{target}/.."), ("./usr/away/outside", b"evil")
    assert "would land outside of the tree" in refusal(tmp_path, *entries)
    assert not (tmp_path / "outside").exists()


def test_a_folder_through_a_link_that_leaves_the_tree_is_refused(tmp_path):
    (tmp_path / "there").mkdir()
    entries = symlink("./usr/away", "../../there"), entry("./usr/away/new/x", tarfile.DIRTYPE)
    assert "would land outside of the tree" in refusal(tmp_path, *entries)
    assert list((tmp_path / "there").iterdir()) == []


def test_a_hard_link_to_what_is_outside_is_refused(tmp_path):
    (tmp_path / "secret").write_text("mine")
    link = entry("./usr/bin/tool", tarfile.LNKTYPE, "../secret")
    assert "would land outside of the tree" in refusal(tmp_path, link)


def test_a_link_in_place_of_a_folder_is_refused(tmp_path):
    assert "is a folder already" in refusal(tmp_path, symlink("./usr/bin", "elsewhere"))


def test_a_device_is_refused(tmp_path):
    assert "device" in refusal(tmp_path, entry("./dev/null", tarfile.CHRTYPE))


def test_documentation_stays_behind(tmp_path):
    tree = unpacked(tmp_path, ("./usr/share/doc/tool/README", b"1"), ("./usr/share/docs", b"2"))
    assert not (tree / "usr/share/doc").exists() and (tree / "usr/share/docs").exists()
