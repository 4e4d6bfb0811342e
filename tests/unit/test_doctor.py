"""make doctor: it runs where nothing is set up, tells good from bad, and says what mends it."""

import itertools
import json
import os
import re
import subprocess
import sys
import time

import pytest

from tools.doctor import __main__ as doctor
from tools.doctor import host, software, state
from tools.doctor.finding import BAD, GOOD, REMARK, Finding
from tools.setup import programs
from tools.setup.paths import ROOT
from tools.setup.patience import PATIENCE_S
from tools.setup.programs import install_line


def run(*words: str, **environment: str) -> subprocess.CompletedProcess:
    """Run the doctor as the Makefile does: with nothing but Python's library."""
    kept = {"PATH": os.environ["PATH"], "PROXEN_ACCEL": "tcg", **environment}
    command = [sys.executable, "-S", "-m", "tools.doctor", *words]
    return subprocess.run(command, cwd=ROOT, env=kept, capture_output=True, text=True)


def test_here_all_that_is_needed_is_there():
    done = run()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All that is needed is here" in done.stdout
    assert "\x1b" not in done.stdout, "colours, and no terminal"
    for what in ("python", "programs", "QEMU", "accelerator", "memory", "core", "left over"):
        assert any(line[6:].startswith(what) for line in done.stdout.splitlines()), what
    assert max(map(len, done.stdout.splitlines())) <= doctor.WIDTH
    assert "PROXEN_ACCEL says" in done.stdout


def test_without_programs_it_says_what_to_install():
    done = run(PATH="/nowhere")
    assert done.returncode == 1 and done.stderr == ""
    assert "BAD   programs" in done.stdout and "qemu-system-x86_64 does not run" in done.stdout
    needed, wished = (line.strip() for line in done.stdout.splitlines() if "apt-get" in line)
    assert needed.replace("sudo ", "").startswith(install_line([]))
    assert {"qemu-system-x86", "util-linux"} <= set(needed.split()) and "gdb" not in needed
    assert "gdb" in wished.split()
    assert "Not well: programs, QEMU." in done.stdout


def test_wrong_usage_and_help():
    assert run("--help").returncode == 0 and "make doctor" in run("--help").stdout
    assert run("frobnicate").returncode == 2


@pytest.mark.parametrize(
    ("printed", "expected", "words"),
    [
        ("QEMU emulator version 7.2.22 (Debian)", GOOD, "7.2.22; 7.2 to 11.1 were tried"),
        ("QEMU emulator version 6.1.0", REMARK, "older than 7.2"),
        ("QEMU emulator version 99.0.2", REMARK, "99.0.2; 7.2 to 11.1 were tried"),
        ("", BAD, "does not run"),
    ],
)
def test_qemus_version_is_judged(monkeypatch, printed, expected, words):
    monkeypatch.setattr(software, "ask", lambda *command: printed)
    found = software.qemu()
    assert found.state == expected and words in found.detail


def test_little_memory_is_bad(monkeypatch, tmp_path):
    text = "MemTotal: {0} kB\nMemFree: 1 kB\nMemAvailable: {1} kB\n"
    (tmp_path / "meminfo").write_text(text.format(8 << 20, 1 << 20))
    monkeypatch.setattr(host, "MEMINFO", tmp_path / "meminfo")
    assert host.memory().state == BAD
    (tmp_path / "meminfo").write_text(text.format(8 << 20, 4 << 20))
    assert host.memory().state == GOOD


def test_kvm_is_used_only_if_a_boot_shows_that_it_works(monkeypatch, tmp_path):
    monkeypatch.delenv("PROXEN_ACCEL", raising=False)
    monkeypatch.setattr(host, "KVM", tmp_path / "kvm")
    assert "there is no" in host.kvm().detail
    (tmp_path / "kvm").touch()
    monkeypatch.setattr(host, "VMLINUZ", tmp_path / "vmlinuz")
    assert host.kvm().mend == "make build"
    (tmp_path / "vmlinuz").touch()
    monkeypatch.setattr(host, "accelerator", lambda kernel, cpu: "tcg")
    assert "no boot works" in host.kvm().detail
    monkeypatch.setattr(host, "accelerator", lambda kernel, cpu: "kvm")
    assert host.kvm().detail.startswith("KVM")


def test_a_stale_core_is_named(monkeypatch, tmp_path):
    source = tmp_path / "source.py"
    source.write_text("x = 1\n")
    monkeypatch.setattr(state, "CORE", ROOT / "Makefile")
    monkeypatch.setattr(state, "CORE_STAMP", tmp_path / "stamp")
    digest = state._digest(str(source))
    (tmp_path / "stamp").write_text(json.dumps({"inputs": {str(source): digest}}))
    assert state.core().state == GOOD
    source.write_text("x = 2\n")
    assert state.core().state == REMARK and "source.py" in state.core().detail


def test_a_machine_that_died_is_noticed(monkeypatch, tmp_path):
    monkeypatch.setattr(state, "CURRENT", tmp_path)
    assert "no machine is up" in state.running_machine().detail
    (tmp_path / "pid").write_text(str(os.getpid()))  # alive, but no QEMU
    (tmp_path / "port").write_text("1")
    found = state.running_machine()
    assert (found.state, found.mend) == (REMARK, "make down")


ORPHAN = """import subprocess, sys
nothing = subprocess.DEVNULL
print(subprocess.Popen(sys.argv[2:], cwd=sys.argv[1], stdout=nothing, stderr=nothing).pid)
"""


def test_a_leftover_qemu_is_found(monkeypatch, tmp_path):
    """A process called like QEMU, in a run folder of ours, whose parent has gone."""
    monkeypatch.setattr(state, "RUNS", tmp_path)
    monkeypatch.setattr(state, "CURRENT", tmp_path / "current")
    (tmp_path / "run-1").mkdir()
    (tmp_path / "qemu-system-x86_64").symlink_to("/bin/sleep")
    qemu = tmp_path / "qemu-system-x86_64"
    command = [sys.executable, "-c", ORPHAN, tmp_path / "run-1", qemu, "60"]
    pid = int(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    try:
        end = time.monotonic() + PATIENCE_S
        while not state._is_qemu(pid):  # its command line comes a moment after it has been started
            assert time.monotonic() < end
            time.sleep(0.05)
        if state._parent(pid) != 1:
            pytest.skip("another process adopts orphans here")
        assert state.leftovers().mend == f"kill {pid}"
    finally:
        os.kill(pid, 9)


def test_the_page_tells_what_to_do_once_each(monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    findings = [Finding(BAD, name, "", install_line(["x", name])) for name in ("a", "b")]
    findings += [Finding(REMARK, "c", "", "make build"), Finding(REMARK, "d", "", "make build")]
    text = doctor.summary(findings)
    assert f"    {programs.as_root(install_line(['x', 'a', 'b']))}\n" in text
    assert text.count("    make build\n") == 1
    assert text.endswith("Not well: a, b.")
    assert doctor.render(findings[0], True).startswith("\x1b[31;1mBAD")


def packages_finding(**environment):
    """Return what the doctor says of dom0's packages."""
    lines = run(**environment).stdout.split("dom0 packages", 1)[1].splitlines()
    rest = itertools.takewhile(lambda line: line.startswith(" " * 10), lines[1:])
    return " ".join(" ".join([lines[0], *rest]).split())


def test_packages_that_are_missing_are_counted_and_their_mirror_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("DEBIAN_MIRROR", "http://near/debian")
    monkeypatch.setattr(state.store, "POOL", tmp_path)
    found = state.packages()
    assert found.state == GOOD
    assert re.fullmatch(
        r"(\d+) of \1 are not here; make run fetches \d+ MiB from http://near/debian", found.detail
    )


def test_a_release_or_a_mirror_that_is_none_is_bad():
    assert "DOM0 is 'woody'" in packages_finding(PROXEN_DOM0="woody")
    assert "DEBIAN_MIRROR is 'near', which is no" in packages_finding(DEBIAN_MIRROR="near")
