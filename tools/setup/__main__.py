"""`python3 -m tools.setup [test]`: have all that building and running, or testing too, needs.

Imports the library alone; what it says to a Python that is too old, that Python must understand.
"""

import sys

NEEDED = (3, 11)
if sys.version_info < NEEDED:
    sys.exit("proxen: Python 3.11 or newer is needed, and this is " + sys.version.split()[0])

from tools.setup.paths import ROOT  # noqa: E402
from tools.setup.plain import plain_errors  # noqa: E402
from tools.setup.programs import ensure_programs  # noqa: E402
from tools.setup.progress import fail  # noqa: E402
from tools.setup.venv import ensure_venv  # noqa: E402


def main(needed_for: str) -> None:
    """Set up. Errors: SystemExit, it could not be done; says why."""
    if ":" in str(ROOT):
        raise fail(f"{ROOT} has a colon in its name, which Python's search path cannot hold")
    with plain_errors():
        ensure_programs(needed_for)
        ensure_venv()


if __name__ == "__main__":
    main(sys.argv[1] if sys.argv[1:] else "run")
