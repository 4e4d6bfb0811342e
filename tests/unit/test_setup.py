"""Setting up: what is missing is one line to paste, what is unchanged is not done again."""

import pytest

from tools.setup import debian
from tools.setup.stamp import Stamp, fingerprint


def test_a_stamp_is_fresh_until_an_input_or_a_product_changes(tmp_path):
    source, product = tmp_path / "source", tmp_path / "product"
    source.write_text("one")
    stamp = Stamp(tmp_path / "stamp", product)
    assert not stamp.fresh(fingerprint(source))
    product.write_text("made")
    stamp.record(fingerprint(source))
    assert stamp.fresh(fingerprint(source))
    source.write_text("two")
    assert not stamp.fresh(fingerprint(source))
    source.write_text("one")
    product.unlink()
    assert not stamp.fresh(fingerprint(source))


def test_a_fingerprint_sees_names_contents_and_modes(tmp_path):
    (tmp_path / "a").write_text("1")
    before = fingerprint(tmp_path)
    (tmp_path / "a").chmod(0o755)
    assert fingerprint(tmp_path) != before
    (tmp_path / "a").chmod(0o644)
    (tmp_path / "a").rename(tmp_path / "b")
    assert fingerprint(tmp_path) != before


def test_who_is_not_root_gets_one_line_to_paste(monkeypatch):
    monkeypatch.setattr(debian, "missing", lambda: ["gdb", "qemu-system-x86"])
    monkeypatch.setattr(debian.os, "geteuid", lambda: 1000)
    with pytest.raises(SystemExit) as error:
        debian.ensure_packages()
    lines = [line for line in str(error.value).splitlines() if "apt-get" in line]
    assert lines == ["  sudo apt-get install -y --no-install-recommends gdb qemu-system-x86"]


def test_evidence_is_a_program_a_file_or_a_module(monkeypatch, tmp_path):
    listing = tmp_path / "list"
    listing.write_text(
        "# a comment\na sh\nb no-such-program\nc /no/file\nd module:nope\ne module:os\n"
    )
    monkeypatch.setattr(debian, "LISTING", listing)
    assert debian.missing() == ["b", "c", "d"]
