"""Makes build/venv: the PyPI packages of requirements.txt, in the versions that tools/pins names.

It is made anew when the requirements, the pins or the Python change. PROXEN_PINS=oldest takes the
lowest versions that the ranges allow, for tests; as a rule it is the newest that were tried.
"""

import os
import subprocess
import sys
from pathlib import Path

from tools.setup.logged import LOG_NAME, run
from tools.setup.paths import BUILD, TOOLS, VENV
from tools.setup.progress import fail, say, step
from tools.setup.stamp import Stamp, fingerprint

REQUIREMENTS = TOOLS / "requirements.txt"
PINS = TOOLS / "pins"
ENDS = ("newest", "oldest")
PYTHON = VENV / "bin/python"
STAMP = Stamp(BUILD / "venv.stamp", PYTHON)
# Nothing is compiled here: a package without a wheel for this Python is an error, said in a line.
PIP = ("-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--retries", "2")
WHEELS = ("--only-binary", ":all:", "-r", str(REQUIREMENTS))


def ensure_venv() -> Path:
    """Have the virtual environment.

    Returns: its Python.
    Errors: SystemExit, it could not be made; says why.
    """
    if not is_fresh():
        STAMP.forget()
        with step("set up build/venv"):
            why = _make()
        if why is None:
            STAMP.record(_digest())
        elif not _satisfied():
            mend = "`make setup` tries again"
            raise fail(f"build/venv could not be set up: {why}; see {LOG_NAME}; {mend}")
        else:
            say(f"build/venv stays as it is: {why}; with a network `make setup` renews it")
    return PYTHON


def pins() -> Path:
    """Return the file that says which versions.

    Errors: SystemExit, PROXEN_PINS is neither newest nor oldest.
    """
    end = os.environ.get("PROXEN_PINS") or ENDS[0]
    if end not in ENDS:
        raise fail(f"PROXEN_PINS={end} is none of {', '.join(ENDS)}")
    return PINS / f"{end}.txt"


def is_fresh() -> bool:
    """Tell whether the environment was made for these pins and this Python."""
    return STAMP.fresh(_digest())


def _digest() -> str:
    return fingerprint(REQUIREMENTS, pins(), f"{sys.version_info[:2]} {sys.executable}")


def _make() -> str | None:
    """Make the environment. Returns: None, or why it could not be made."""
    clear = [sys.executable, "-m", "venv", "--clear", str(VENV)]
    if not _is_whole() and (why := run(clear)):
        return why
    return run([str(PYTHON), *PIP, *WHEELS, "-c", str(pins())])


def _is_whole() -> bool:
    """Tell whether the environment's Python is this one, and has pip."""
    code = f"import sys, pip; sys.exit(sys.version_info[:2] != {sys.version_info[:2]})"
    try:
        return subprocess.run([PYTHON, "-c", code], capture_output=True).returncode == 0
    except OSError:
        return False


def _satisfied() -> bool:
    """Tell whether what is installed meets the requirements, if not the pins."""
    return _is_whole() and run([str(PYTHON), *PIP, "--no-index", *WHEELS]) is None
