"""The kernels of other Debian releases as domain 0: each boots, and serves a domain its disk."""

import os
import re
import subprocess
import sys

import pytest

from tools.setup.paths import ROOT
from tools.setup.patience import PATIENCE_S

# That of bookworm is dom0 in all other tests.
RELEASES = {"trixie": "6.12.", "sid": "7."}


@pytest.mark.boot
@pytest.mark.slow
@pytest.mark.parametrize("suite", RELEASES)
def test_dom0_runs_the_kernel_of_another_release(suite):
    done = subprocess.run(
        [sys.executable, "-m", "tools.run", "example"],
        cwd=ROOT,
        env=os.environ | {"PROXEN_DOM0": suite},
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "readfile: wrote sector 2047" in done.stdout + done.stderr
    folder = ROOT / done.stderr.partition("traces: ")[2].split()[0]
    serial = (folder / "serial.log").read_text(errors="replace")
    assert f"Linux version {RELEASES[suite]}" in serial
    assert "Call Trace" not in serial
    assert not re.search(r"xen_mcelog: Failed|_PDC .* failed", serial)


def test_a_release_that_is_none_is_refused():
    done = subprocess.run(
        [sys.executable, "-m", "tools.image"],
        cwd=ROOT,
        env=os.environ | {"PROXEN_DOM0": "woody"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == (
        "proxen: DOM0 is 'woody'; it can be bookworm, trixie, sid"
    )
