"""`python3 -m tools.setup`: have everything that building and running needs; needs Python's library alone."""

import sys

from tools.setup.debian import ensure_packages
from tools.setup.progress import fail
from tools.setup.venv import ensure_venv

if __name__ == "__main__":
    if sys.version_info < (3, 11):
        raise fail("Python 3.11 or newer is needed, as in Debian 12")
    ensure_packages()
    ensure_venv()
