"""Fetching what the lock files pin, from a mirror that is well, ill, behind, ahead or not there."""

import errno
import re
from dataclasses import replace

import pysequoia
import pytest

from tests.unit.debian_mirror import KEYRING_FILE, SIGNER, SUITE, Mirror, deb_of, write_lock
from tools.image import packages
from tools.image.debian import http, instead, lockfile, renew, store
from tools.image.debian.suites import SUITES

OLD, NEW = "linux-image-7.1-amd64", "linux-image-7.2-amd64"


@pytest.fixture
def mirror(monkeypatch, tmp_path):
    """A mirror with a kernel and a keyring, both pinned, and a store that is empty."""
    place = Mirror()
    monkeypatch.setenv("DEBIAN_MIRROR", f"{place.url} {place.url}-security")
    monkeypatch.setattr(store, "POOL", tmp_path / "pool")
    monkeypatch.setattr(instead, "NOTES", tmp_path / "newest")
    monkeypatch.setattr(lockfile, "FOLDER", tmp_path / "lock")
    monkeypatch.setattr(http, "PAUSE_S", 0)
    monkeypatch.setattr("tools.image.debian.signature.SUITES", {SUITE: SUITES[SUITE]})
    monkeypatch.setattr(renew, "SUITES", {SUITE: SUITES[SUITE]})
    keyring = deb_of((f"./{KEYRING_FILE}", bytes(SIGNER.extract_certificate())))
    place.keyring = place.add("debian-archive-keyring", "1", keyring)
    place.kernel = place.add(OLD, "7.1-1", deb_of(("./boot/vmlinuz-7.1", b"old kernel" * 9000)))
    place.meta = place.add("linux-image-amd64", "7.1-1", deb_of(), f"{OLD} (= 7.1-1)")
    place.publish()
    write_lock(tmp_path / "lock", kernel=[place.kernel], keyring=[place.keyring])
    yield place
    place.close()


def put_newer_kernel(mirror):
    """Replace the kernel of the mirror by a newer one, whose package has another name."""
    mirror.remove(mirror.kernel)
    mirror.remove(mirror.meta)
    newer = mirror.add(NEW, "7.2-1", deb_of(("./boot/vmlinuz-7.2", b"new kernel")))
    mirror.add("linux-image-amd64", "7.2-1", deb_of(), f"{NEW} (= 7.2-1)")
    mirror.publish()
    return newer


def kernel():
    return packages.kernel(SUITE)


def complaint():
    """Return the one sentence that fetching the kernel ends with."""
    with pytest.raises(SystemExit) as error:
        kernel()
    text = str(error.value)
    assert text.startswith("proxen: ") and "\n" not in text
    return text


def path_of(package):
    return package.path.removeprefix("debian/")


def test_the_pinned_version_is_fetched_once(mirror):
    (file,) = kernel().files
    assert file.read_bytes() == mirror.files[path_of(mirror.kernel)]
    assert kernel().files == [file]
    assert [path for path, _ in mirror.asked] == [path_of(mirror.kernel)]


def test_what_was_fetched_needs_no_network(mirror):
    before = kernel().files
    mirror.close()
    assert kernel().files == before


def test_without_a_network_the_missing_and_the_line_are_named(mirror):
    mirror.close()
    text = complaint()
    assert f"{OLD} 7.1-1" in text and "Connection refused" in text and "`make build`" in text


def test_a_cut_connection_is_continued_where_it_ended(mirror):
    mirror.faults[path_of(mirror.kernel)] = lambda right: right[:100]
    (file,) = kernel().files
    assert file.read_bytes() == mirror.files[path_of(mirror.kernel)]
    assert [wanted for _, wanted in mirror.asked] == [None, "bytes=100-"]


def test_what_a_stopped_run_left_is_continued_and_never_taken_as_whole(mirror):
    mirror.faults[path_of(mirror.kernel)] = lambda right: right[:70]
    mirror.stays = True
    assert "the connection ended" in complaint()
    mirror.stays, mirror.faults, mirror.asked = False, {}, []
    assert not store.has(mirror.kernel)
    kernel()
    (wanted,) = (wanted for _, wanted in mirror.asked)
    assert re.fullmatch(r"bytes=[1-9]\d*-", wanted)


def test_wrong_bytes_are_fetched_again(mirror):
    mirror.faults[path_of(mirror.kernel)] = lambda right: right[:-1] + b"?"
    (file,) = kernel().files
    assert file.read_bytes() == mirror.files[path_of(mirror.kernel)]


def test_a_mirror_whose_bytes_stay_wrong_is_refused(mirror):
    mirror.files[path_of(mirror.kernel)] = mirror.files[path_of(mirror.kernel)][:-1] + b"?"
    assert "has not the bytes that its checksum says" in complaint()
    assert not store.has(mirror.kernel)


@pytest.mark.parametrize("status", [403, 500, 503])
def test_an_answer_that_is_none_is_named(mirror, status):
    mirror.faults[path_of(mirror.kernel)] = status
    mirror.stays = True
    assert f"answers {status}" in complaint()


def test_a_mirror_that_is_out_of_breath_is_asked_again(mirror):
    mirror.faults[path_of(mirror.kernel)] = 503
    assert store.has(kernel().packages[0])


def test_for_a_version_that_is_gone_the_newest_is_taken_and_said(mirror, capfd):
    newer = put_newer_kernel(mirror)
    assert kernel().packages == [newer]
    said = capfd.readouterr().err
    assert f"{NEW} 7.2-1 is new" in said and f"{OLD} 7.1-1 is gone" in said


def test_the_newest_that_was_taken_needs_no_network_later(mirror):
    newer = put_newer_kernel(mirror)
    kernel()
    mirror.close()
    assert kernel().packages == [newer]


def test_a_renewed_lock_ends_what_was_taken_for_the_old_one(mirror, tmp_path):
    put_newer_kernel(mirror)
    kernel()
    again = mirror.add(NEW, "7.2-2", deb_of(("./boot/vmlinuz-7.2", b"newest")))
    write_lock(tmp_path / "lock", kernel=[again], keyring=[mirror.keyring])
    assert kernel().packages == [again]


def test_an_index_that_somebody_else_signed_is_refused(mirror):
    put_newer_kernel(mirror)
    mirror.publish(signer=pysequoia.Tsk.generate("Somebody else <else@example.org>"))
    assert "debian/dists/sid/InRelease is not signed by Debian's archive" in complaint()


def test_an_index_that_was_changed_after_signing_is_refused(mirror):
    put_newer_kernel(mirror)
    place = f"dists/{SUITE}/InRelease"
    mirror.files[place] = mirror.files[place].replace(b"Origin: Debian", b"Origin: Debiam")
    assert "is not signed by Debian's archive" in complaint()


def test_the_index_of_another_suite_is_refused(mirror):
    put_newer_kernel(mirror)
    mirror.publish(codename="trixie")
    assert "is of trixie, not of sid" in complaint()


def test_a_package_list_that_is_not_the_signed_one_is_refused(mirror):
    put_newer_kernel(mirror)
    (path,) = (path for path in mirror.files if "by-hash" in path and path in _published(mirror))
    mirror.files[path] = mirror.files[path][:-1]
    assert "has not the bytes that its checksum says" in complaint()


def _published(mirror):
    text = mirror.files[f"dists/{SUITE}/InRelease"].decode()
    digest = re.search(r"^ ([0-9a-f]{64}) ", text, re.MULTILINE)[1]
    return [path for path in mirror.files if path.endswith(digest)]


def test_without_any_pinned_keyring_nothing_new_is_trusted(mirror, monkeypatch):
    monkeypatch.setattr("tools.image.debian.signature.HOST_KEYRINGS", ())
    put_newer_kernel(mirror)
    mirror.remove(mirror.keyring)
    assert "none of the pinned versions of debian-archive-keyring" in complaint()


def test_no_space_is_one_sentence(mirror, monkeypatch):
    def full(*_arguments):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(http, "_copy", full)
    assert f"cannot write below {store.POOL}" in complaint()


def test_a_folder_that_cannot_be_written_is_one_sentence(mirror, tmp_path):
    (tmp_path / "pool").write_text("a file where the folder should be")
    assert f"cannot write below {store.POOL}" in complaint()


def test_an_address_that_is_none_is_refused(mirror, monkeypatch):
    monkeypatch.setenv("DEBIAN_MIRROR", "deb.debian.org")
    assert "DEBIAN_MIRROR is 'deb.debian.org', which is no address" in complaint()


def test_a_mirror_may_be_a_folder(mirror, monkeypatch, tmp_path):
    file = tmp_path / "a mirror" / path_of(mirror.kernel)
    file.parent.mkdir(parents=True)
    file.write_bytes(mirror.files[path_of(mirror.kernel)])
    monkeypatch.setenv("DEBIAN_MIRROR", f"file://{tmp_path}/a%20mirror")
    assert store.has(kernel().packages[0])
    assert mirror.asked == []


def test_a_lock_is_renewed_from_the_signed_index(mirror, capfd, tmp_path):
    newer = put_newer_kernel(mirror)
    renew.renew()
    assert lockfile.locked(SUITE) == {"kernel": [newer], "keyring": [mirror.keyring]}
    assert f"sid: {NEW} 7.2-1 is new" in capfd.readouterr().err
    before = (tmp_path / "lock" / "sid.lock").read_text()
    renew.renew()
    assert (tmp_path / "lock" / "sid.lock").read_text() == before


@pytest.mark.parametrize(
    "line", ["bash 5", "bash 5 1 00 debian/pool/x", "[kernel", "a b 1 {} ../x"]
)
def test_a_damaged_lock_file_is_named_by_line(mirror, tmp_path, line):
    file = tmp_path / "lock" / "sid.lock"
    file.write_text(file.read_text() + line.format("0" * 64) + "\n")
    number = len(file.read_text().splitlines())
    assert f"sid.lock:{number} is no package" in complaint()


def test_a_missing_lock_file_is_named(mirror, tmp_path):
    (tmp_path / "lock" / "sid.lock").unlink()
    assert "`make lock` writes it" in complaint()


def test_the_lock_files_of_the_tree_are_as_they_would_be_written(monkeypatch):
    for suite, wanted in SUITES.items():
        sets = lockfile.locked(suite)
        assert lockfile.file_of(suite).read_text() == lockfile.render(suite, sets)
        assert sets.keys() == wanted.sets.keys()
        assert all(package.size and package.version for found in sets.values() for package in found)


def test_a_changed_pin_is_told_from_new_and_gone(mirror):
    one, other = mirror.kernel, mirror.keyring
    newer = replace(one, version="7.1-2", sha256="0" * 64)
    assert lockfile.changes({"a": [one, other]}, {"a": [newer]}) == [
        "debian-archive-keyring 1 is gone",
        f"{OLD} 7.1-1 -> 7.1-2",
    ]
