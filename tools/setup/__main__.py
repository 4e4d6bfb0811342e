"""`python3 -m tools.setup`: have all that building and running needs. Imports the library alone."""

from tools.setup.debian import ensure_packages
from tools.setup.venv import ensure_venv

if __name__ == "__main__":
    ensure_packages()
    ensure_venv()
