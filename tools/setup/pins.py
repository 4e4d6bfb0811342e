"""`python -m tools.setup.pins`: write tools/pins anew, which name a version of every package.

`oldest.txt` has the lower end of each range of requirements.txt, `newest.txt` the newest that the
ranges allow; what these packages need themselves comes along in the newest version that fits.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.setup.progress import step
from tools.setup.venv import ENDS, PINS, REQUIREMENTS

RANGE = re.compile(r"^([\w.-]+)>=([\w.]+),<([\w.]+)$", re.MULTILINE)
HEADER = "# Written by `python -m tools.setup.pins`, to be reviewed.\n"


def lowest(requirements: str) -> str:
    """Return the requirements with each range cut down to its lower end."""
    return "".join(f"{name}=={low}\n" for name, low, _ in RANGE.findall(requirements))


def main() -> None:
    """Write both files."""
    wanted = REQUIREMENTS.read_text()
    for end, text in zip(ENDS, (wanted, lowest(wanted)), strict=True):
        with step(f"find the {end} versions"), tempfile.TemporaryDirectory() as folder:
            (PINS / f"{end}.txt").write_text(HEADER + _resolve(text, Path(folder)))


def _resolve(requirements: str, folder: Path) -> str:
    """Return what pip takes for requirements."""
    (folder / "wanted").write_text(requirements)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    pip = [folder / "venv/bin/python", "-m", "pip", "-q", "--disable-pip-version-check"]
    install = ["install", "--only-binary", ":all:", "-r", folder / "wanted"]
    subprocess.run([*pip, *install], check=True)
    return subprocess.run([*pip, "freeze"], check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    main()
