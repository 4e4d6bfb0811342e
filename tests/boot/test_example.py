"""What `make run` shows: the example kernel reads and writes a disk through dom0's Linux."""

import os
import re
import subprocess
import sys
from pathlib import Path

from tests.hosts import DISK
from tools.run import example
from tools.setup.paths import ROOT
from tools.setup.patience import PATIENCE_S

PING = example.EXAMPLES / "ping.cfg"


def test_the_example_reads_and_writes_a_real_disk(host, xend_url):
    example.make_disk(DISK)
    done = _xm_run(xend_url)
    assert done.returncode == 0, done.stdout + done.stderr
    for line in example.TEXT.read_text().splitlines():
        assert line in done.stdout
    assert DISK.read_bytes()[-example.SECTOR :] == example.WRITTEN


def test_its_exit_code_says_that_there_is_no_disk(host, xend_url):
    done = _xm_run(xend_url, "name=readnothing", "disk=[]")
    assert "there is no disk xvda" in done.stdout
    assert done.returncode == 2


def test_a_kernel_of_60_lines_has_a_network(host, xend_url, dom0):
    """It pings dom0, and then dom0 pings it, with data."""
    line = "peer=10.0.100.1 address=10.0.100.9"
    done = _xm("run", xend_url, PING, f'cmdline="{line}"')
    assert done.returncode == 0, done.stdout + done.stderr
    assert re.findall(r"^ping: echo (\d) after \d+ us$", done.stdout, re.MULTILINE) == list("012")
    done = _xm("create", xend_url, "--wait", PING, f'cmdline="{line} serve=3600"')
    assert done.returncode == 0, done.stdout + done.stderr
    dom0.check("busybox ping -c 3 -W 600 -s 1400 10.0.100.9")
    _xm("destroy", xend_url, "ping")
    assert len((example.EXAMPLES / "ping.py").read_text().splitlines()) <= 60


def test_a_disk_that_was_not_written_is_noticed(tmp_path, capsys):
    example.make_disk(tmp_path / "disk")
    assert example.check_disk(tmp_path / "disk") == example.NOT_WRITTEN
    assert "not what the domain wrote" in capsys.readouterr().err


def _xm_run(url: str, *overrides: str) -> subprocess.CompletedProcess:
    return _xm("run", url, example.CONFIG, *overrides)


def _xm(command: str, url: str, *arguments: str | Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, ROOT / "xm", command, *arguments],
        env=os.environ | {"PROXEN_URL": url},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
