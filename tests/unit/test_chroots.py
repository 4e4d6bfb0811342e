"""What `make test-hosts` makes of its words; the chroots themselves are too slow for a test."""

import pytest

from tests.chroots import __main__ as chroots
from tests.chroots.chroot import Chroot
from tests.chroots.hosts import HOSTS
from tools.setup import programs


@pytest.fixture
def tried(monkeypatch, tmp_path):
    """A chroot whose commands are only noted; the first `make` fails as it does for a newcomer."""
    monkeypatch.setattr(chroots, "LOGS", tmp_path)
    monkeypatch.setattr(chroots, "FOLDER", tmp_path)
    ran = []

    def run(chroot, command, log, user=None, network=True):
        ran.append((user or chroot.user, command, network))
        log.touch()
        if len(ran) == 1:
            monkeypatch.setattr(programs, "manager", lambda: programs.APT)
            told = programs._what_to_do(["qemu-system-x86", "python3-venv"], "are needed")
            log.write_text(f"proxen: {told}")
            return 2
        return 0

    monkeypatch.setattr(Chroot, "run", run)
    return ran


def test_root_runs_the_line_that_a_user_was_told(tried, monkeypatch):
    monkeypatch.setattr(programs.os, "geteuid", lambda: 1000)
    row = chroots.try_command(Chroot(HOSTS["trixie"], "user"), "run", None)
    assert row.result == "ok"
    line = (
        "apt-get update && apt-get install -y --no-install-recommends qemu-system-x86 python3-venv"
    )
    assert tried[:3] == [
        ("user", "make run", True),
        ("root", line, True),
        ("user", "make run", True),
    ]


def test_a_failure_of_root_stays_one(tried):
    row = chroots.try_command(Chroot(HOSTS["sid"], "root"), "offline", "oldest")
    assert row.result == "exit 2, see sid-root-offline.log"
    assert tried[0] == ("root", "PROXEN_PINS=oldest make run", False)


def test_a_bare_host_has_from_the_start_what_running_needs():
    assert {"qemu-system-x86", "python3-venv"} <= set(HOSTS["bare"].packages)
    assert "gdb" not in HOSTS["bare"].packages
