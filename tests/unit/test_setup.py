"""Setting up: what is missing is one line to paste, what is unchanged is not done again, what fails
is a sentence.
"""

import errno
import os
import subprocess
import sys

import pytest

from tools.setup import logged, plain, programs, venv
from tools.setup.paths import ROOT
from tools.setup.stamp import Stamp, fingerprint

NETWORK = "WARNING: Retrying after connection broken by NewConnectionError: Failed to establish\n"


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


@pytest.fixture
def lacking(monkeypatch, tmp_path):
    """A host of our making: Debian, not root, without QEMU and gdb; change what you like."""
    listing = tmp_path / "list"
    listing.write_text(
        "# a comment\nno-qemu qemu-deb qemu-fedora run\nmodule:nope python3-nope - run\n"
        "sh dash dash run\nmodule:os python3 python3 run\nno-gdb gdb gdb test\n"
    )
    monkeypatch.setattr(programs, "LISTING", listing)
    monkeypatch.setattr(programs, "manager", lambda: "apt-get")
    monkeypatch.setattr(programs.os, "geteuid", lambda: 1000)
    return monkeypatch


def told(needed_for: str = "run") -> str:
    with pytest.raises(SystemExit) as error:
        programs.ensure_programs(needed_for)
    return str(error.value)


def test_evidence_is_a_program_or_a_module(lacking):
    assert programs.missing("run") == ["qemu-deb", "python3-nope"]
    assert programs.missing("test") == ["gdb"]


def test_who_is_not_root_gets_one_line_to_paste(lacking):
    lines = [line for line in told().splitlines() if "install -y" in line]
    install = "apt-get install -y --no-install-recommends qemu-deb python3-nope"
    assert lines == [f"  sudo apt-get update && sudo {install}"]
    assert told("test") == told(), "what only tests use is no reason to stop"


def test_each_distribution_gets_its_own_line(lacking):
    lacking.setattr(programs, "manager", lambda: "dnf")
    assert "\n  sudo dnf install -y qemu-fedora" in told()
    lacking.setattr(programs, "manager", lambda: None)
    assert told().endswith("packages are not known; install: no-qemu nope")


def test_what_only_tests_use_is_asked_for_and_not_insisted_on(lacking, capsys):
    lacking.setattr(programs.LISTING.__class__, "read_text", lambda _: "no-gdb gdb gdb test\n")
    programs.ensure_programs("run")
    assert capsys.readouterr().err == ""
    programs.ensure_programs("test")
    assert "tests that need them are skipped" in capsys.readouterr().err


def test_apts_failure_is_a_sentence(lacking, tmp_path):
    lacking.setattr(programs.os, "geteuid", lambda: 0)
    lacking.setattr(programs, "run", lambda words, environment: "the network does not answer")
    assert told().startswith("proxen: `apt-get update` failed: the network does not answer; see ")
    assert len(told().splitlines()) == 1


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ("E: Temporary failure resolving 'deb.debian.org'", "the network does not answer"),
        (f"{NETWORK}ERROR: No matching distribution found for ruff", "the network does not answer"),
        ("ERROR: No matching distribution found for aiohttp==3.8.4", "there is no aiohttp==3.8.4"),
        ("OSError: [Errno 28] No space left on device", "the disk is full"),
        ("E: Unable to locate package qemu", "apt knows no package qemu"),
        ("blah\nE: one\nE: Sub-process returned 1\n", "Sub-process returned 1"),
        ("Traceback\nValueError: a colon\n", "ValueError: a colon"),
        ("", "it does not say why"),
    ],
)
def test_the_reason_is_found_in_what_a_program_said(said, why):
    assert logged.reason(said).startswith(why)


def test_what_a_program_said_is_in_the_log(monkeypatch, tmp_path):
    monkeypatch.setattr(logged, "LOG", tmp_path / "log")
    assert logged.run([sys.executable, "-c", "print('good')"]) is None
    assert logged.run([sys.executable, "-c", "exit('E: no space')"]) == "no space"
    assert "No such file" in logged.run(["/no/program"])
    assert "good" in logged.LOG.read_text() and "E: no space" in logged.LOG.read_text()


@pytest.fixture
def broken_pip(monkeypatch, tmp_path):
    """A venv to be renewed, and no network."""
    monkeypatch.setattr(venv, "STAMP", Stamp(tmp_path / "stamp", tmp_path))
    monkeypatch.setattr(venv, "_make", lambda: "the network does not answer")
    return monkeypatch


def test_without_a_network_a_venv_that_will_do_stays(broken_pip, capsys):
    broken_pip.setattr(venv, "_satisfied", lambda: True)
    assert venv.ensure_venv() == venv.PYTHON
    assert "with a network `make setup` renews it" in capsys.readouterr().err
    assert not venv.is_fresh()


def test_without_a_network_a_venv_that_lacks_something_is_a_sentence(broken_pip):
    broken_pip.setattr(venv, "_satisfied", lambda: False)
    with pytest.raises(SystemExit, match="^proxen: build/venv .*: the network.*setup.log; `make "):
        venv.ensure_venv()


def test_the_pins_are_chosen_by_name(monkeypatch):
    monkeypatch.setenv("PROXEN_PINS", "oldest")
    assert venv.pins().name == "oldest.txt"
    monkeypatch.setenv("PROXEN_PINS", "odd")
    with pytest.raises(SystemExit, match="PROXEN_PINS=odd is none of newest, oldest"):
        venv.pins()


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_what_the_system_refuses_is_a_sentence(number):
    told = pytest.raises(SystemExit, match="^proxen: cannot write /a/file: .+$")
    with told, plain.plain_errors():
        raise OSError(number, os.strerror(number), "/a/file")


def test_other_errors_keep_their_traceback():
    with pytest.raises(FileNotFoundError), plain.plain_errors():
        raise FileNotFoundError(errno.ENOENT, "gone", "/a/file")


def test_setup_imports_pythons_library_alone():
    command = [sys.executable, "-S", "-c", "import tools.setup.__main__"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
