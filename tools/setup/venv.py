"""Makes build/venv with the pinned PyPI packages, anew only when the pins or the Python change."""

import subprocess
import sys
from pathlib import Path

from tools.setup.paths import BUILD, TOOLS, VENV
from tools.setup.progress import fail, step
from tools.setup.stamp import Stamp, fingerprint

REQUIREMENTS = TOOLS / "requirements.txt"
PYTHON = VENV / "bin/python"


def ensure_venv() -> Path:
    """Have the virtual environment.

    Returns: its Python.
    Errors: SystemExit, it could not be made; says what pip said.
    """
    digest = fingerprint(REQUIREMENTS, sys.version)
    stamp = Stamp(BUILD / "venv.stamp", PYTHON)
    if not stamp.fresh(digest):
        stamp.forget()
        with step("set up build/venv"):
            _make()
        stamp.record(digest)
    return PYTHON


def _make() -> None:
    if not PYTHON.exists() or not _runs(PYTHON, "import pip"):
        _check([sys.executable, "-m", "venv", "--clear", str(VENV)])
    pip = [str(PYTHON), "-m", "pip", "install", "-q", "--disable-pip-version-check"]
    _check([*pip, "-r", str(REQUIREMENTS)])


def _runs(python: Path, code: str) -> bool:
    return subprocess.run([python, "-c", code], capture_output=True).returncode == 0


def _check(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise fail(f"`{' '.join(command)}` failed:\n{done.stdout}{done.stderr}".rstrip())
