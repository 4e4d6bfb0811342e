"""Which mirror is used: the named one, the one of the host's apt, or Debian's own."""

import hashlib
import stat

import pytest

from tools.image.debian import apt, mirror
from tools.image.debian.download import FetchError, Gone, Progress, Wanted

OFFICIAL = mirror.OFFICIAL["debian"]
# Stands for apt-helper: knows one file, says of all others what apt says.
HELPER = """#!/bin/sh
while [ $# -gt 0 ]; do
    case "$1" in
    download-file) shift; break ;;
    *) shift ;;
    esac
done
while [ $# -gt 0 ]; do
    shown=$(echo "$1" | sed s/+/%2b/g)
    case "$1" in
    */right) printf contents > "$2" ;;
    */wrong) printf contentz > "$2.FAILED"; echo "E: Failed to fetch $shown  Hash Sum mismatch" ;;
    */gone_1+b2) echo "E: Failed to fetch $shown  404  Not Found [IP: 192.0.2.1 80]" >&2 ;;
    *) echo "E: Failed to fetch $shown  Could not resolve 'mirror'" >&2 ;;
    esac
    shift 3
done
"""


@pytest.fixture
def apt_folder(monkeypatch, tmp_path):
    """An empty /etc/apt, and an apt to go with it."""
    monkeypatch.delenv("DEBIAN_MIRROR", raising=False)
    monkeypatch.setattr(mirror, "APT_FOLDER", tmp_path)
    helper = tmp_path / "apt-helper"
    helper.write_text(HELPER)
    helper.chmod(helper.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setattr(mirror, "APT_HELPER", helper)
    monkeypatch.setattr(apt, "APT_HELPER", helper)
    (tmp_path / "sources.list.d").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("file", "text"),
    [
        (
            "sources.list",
            "# deb http://a/debian x\ndeb [signed-by=/a/b] http://m/debian/ sid main\n",
        ),
        ("sources.list.d/x.list", "deb-src http://a/debian x main\ndeb http://m/debian sid main\n"),
        (
            "sources.list.d/x.sources",
            "Types: deb\n# URIs: http://a/debian\nURIs:\n http://else/x\n http://m/debian/\n",
        ),
    ],
)
def test_the_mirror_of_apt_is_used_through_apt(apt_folder, file, text):
    (apt_folder / file).write_text(text)
    found = mirror.mirror()
    assert found.by_apt
    assert found.url("debian/pool/x") == "http://m/debian/pool/x"
    assert found.url("debian-security/x") == mirror.OFFICIAL["debian-security"] + "/x"


def test_a_host_of_another_distribution_uses_debians_own(apt_folder):
    (apt_folder / "sources.list").write_text("deb http://archive.ubuntu.com/ubuntu noble main\n")
    assert mirror.mirror().url("debian/x") == f"{OFFICIAL}/x"


def test_a_host_without_apt_fetches_by_itself(apt_folder, monkeypatch):
    monkeypatch.setattr(mirror, "APT_HELPER", apt_folder / "none")
    assert mirror.mirror() == mirror.Mirror(mirror.OFFICIAL, by_apt=False)


def test_the_named_mirror_goes_before_apts(apt_folder, monkeypatch):
    (apt_folder / "sources.list").write_text("deb http://m/debian sid main\n")
    monkeypatch.setenv("DEBIAN_MIRROR", "http://near/deb/ https://near/sec")
    found = mirror.mirror()
    assert not found.by_apt
    assert found.url("debian/x") == "http://near/deb/x"
    assert found.url("debian-security/x") == "https://near/sec/x"


def test_apt_fetches_and_its_complaints_are_understood(apt_folder):
    digest = hashlib.sha256(b"contents").hexdigest()
    names = ("right", "wrong", "gone_1+b2", "elsewhere")
    files = {n: Wanted(f"http://m/debian/{n}", apt_folder / n, 8, digest) for n in names}
    outcomes = apt.fetch(list(files.values()), Progress(32))
    told = {name: outcomes[file] for name, file in files.items()}
    assert told["right"] is None and (apt_folder / "right").read_bytes() == b"contents"
    assert isinstance(told["gone_1+b2"], Gone)
    assert isinstance(told["wrong"], FetchError) and "Hash Sum mismatch" in str(told["wrong"])
    assert str(told["elsewhere"]).endswith("cannot be had: Could not resolve 'mirror'")
    assert sorted(path.name for path in apt_folder.glob("*.part*")) == []


def test_an_apt_that_cannot_work_at_all_is_quoted(apt_folder):
    (apt_folder / "apt-helper").write_text(
        "#!/bin/sh\necho 'E: Opening configuration failed'\nexit 100\n"
    )
    wanted = Wanted("http://m/debian/right", apt_folder / "right", 8, "0" * 64)
    (error,) = apt.fetch([wanted], Progress(8)).values()
    assert str(error).endswith("right cannot be had: E: Opening configuration failed")


def test_what_apt_fetched_is_checked_by_us_too(apt_folder):
    wanted = Wanted("http://m/debian/right", apt_folder / "right", 8, "0" * 64)
    (error,) = apt.fetch([wanted], Progress(8)).values()
    assert "Hash Sum mismatch" in str(error) and not wanted.target.exists()
