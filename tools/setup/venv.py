"""Makes build/venv with the pinned PyPI packages, anew only when the pins or the Python change."""

import subprocess
import sys
from pathlib import Path

from tools.setup.paths import BUILD, TOOLS, VENV
from tools.setup.progress import fail, step
from tools.setup.stamp import Stamp, fingerprint

REQUIREMENTS = TOOLS / "requirements.txt"
PYTHON = VENV / "bin/python"
STAMP = Stamp(BUILD / "venv.stamp", PYTHON)


def ensure_venv() -> Path:
    """Have the virtual environment.

    Returns: its Python.
    Errors: SystemExit, it could not be made; says what pip said.
    """
    if not is_fresh():
        STAMP.forget()
        with step("set up build/venv"):
            _make()
        STAMP.record(_digest())
    return PYTHON


def is_fresh() -> bool:
    """Tell whether the environment was made for these pins and this Python."""
    return STAMP.fresh(_digest())


def _digest() -> str:
    return fingerprint(REQUIREMENTS, sys.version)


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
