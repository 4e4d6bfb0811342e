"""Sees to the Debian packages: installs them for root, tells others the one line to paste."""

import importlib.util
import os
import shutil
import subprocess
from pathlib import Path

from tools.setup.progress import fail, step

LISTING = Path(__file__).with_name("debian-packages.txt")
# mke2fs and its kin are in sbin, which only root has in its path.
SEARCH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


def missing() -> list[str]:
    """Return the names of the packages that are not there."""
    pairs = (line.split() for line in LISTING.read_text().splitlines())
    return [
        pair[0] for pair in pairs if pair and not pair[0].startswith("#") and not _present(pair[1])
    ]


def ensure_packages() -> None:
    """Have all Debian packages.

    Errors: SystemExit, something is missing and we may not, or could not, install it.
    """
    names = missing()
    if not names:
        return
    line = f"apt-get install -y --no-install-recommends {' '.join(names)}"
    if os.geteuid() != 0:
        raise fail(
            f"Debian packages are missing; paste this line, then try again:\n\n  sudo {line}\n"
        )
    with step(f"install Debian packages: {', '.join(names)}"):
        _install(line.split())
    if left := missing():
        raise fail(f"installed, and yet not there: {', '.join(left)}")


def _install(command: list[str]) -> None:
    environment = os.environ | {"DEBIAN_FRONTEND": "noninteractive"}
    for words in (["apt-get", "update"], command):
        done = subprocess.run(words, env=environment, capture_output=True, text=True)
        if done.returncode:
            raise fail(f"`{' '.join(words)}` failed:\n{done.stderr.strip()}")


def _present(evidence: str) -> bool:
    if evidence.startswith("/"):
        return Path(evidence).exists()
    if evidence.startswith("module:"):
        return importlib.util.find_spec(evidence.removeprefix("module:")) is not None
    return shutil.which(evidence, path=SEARCH) is not None
