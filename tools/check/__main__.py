"""`make check`, or `python -m tools.check [SECONDS]`: ruff, the compiler's check of everything, and
the in-process tests that the change touches; quickest first, as many as fit into a minute.
"""

import re
import subprocess
import sys
import time
from collections.abc import Iterator

from tools.check import runner, touched
from tools.setup.paths import ROOT
from tools.setup.progress import say

LIMIT_S = 60
RESERVE_S = 5  # for the summary, and for a test that runs at the deadline
PROGRAMS = ("kernel", "libos", "drivers", "linetable", "tests/guests/kernels")
SHOWN = 6  # names in a list


def command(title: str, *words: str) -> bool:
    """Run a tool, say how long it took, and show what it found; return whether it is content."""
    start = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=False
    )
    verdict = "ok" if done.returncode == 0 else "FAILED"
    say(f"{title}: {verdict}, {time.monotonic() - start:.1f} s")
    if done.returncode != 0:
        print(done.stdout + done.stderr, flush=True)
    return done.returncode == 0


def programs() -> list[str]:
    """Return every file of kernel Python."""
    names = touched.git("ls-files", "--cached", "--others", "--exclude-standard", *PROGRAMS)
    wanted = [name for name in names if name.endswith(".py") and not name.endswith("BUILD.py")]
    return [name for name in wanted if (ROOT / name).exists()]


def static_checks() -> Iterator[bool]:
    """Look at all files without running any of them."""
    yield command("the ABI's translations", "tools.abi")
    yield command("ruff check", "ruff", "check", "-q")
    yield command("ruff format", "ruff", "format", "-q", "--check")
    yield command("kpy check of everything", "kpy", "check", *programs())


def tests(deadline: float) -> bool:
    """Run the tests that the change touches; return whether none failed."""
    changed = touched.changed_files()
    files = touched.touched(changed)
    say(f"{len(changed)} files changed ({shown(changed)}) touch {len(files)} test files")
    compiler = any(name.startswith("tools/kpy/") and name.endswith(".py") for name in changed)
    ordered = runner.in_order(files, changed, compiler)
    outcome = runner.run(ordered, deadline)
    if outcome.failures:
        print(outcome.text, flush=True)
    counts = re.findall(r"(\d+) passed", outcome.text)
    say(f"tests: {sum(map(int, counts))} passed, {outcome.failures} failed")
    if outcome.left_out:
        say(f"left out, no time: {len(outcome.left_out)} files ({shown(outcome.left_out)})")
    return not outcome.failures


def shown(names: list[str]) -> str:
    """Return the first few names of a list."""
    more = f", and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more if names else "none"


def main() -> int:
    limit = float(sys.argv[1]) if len(sys.argv) > 1 else LIMIT_S
    start, clock = time.monotonic(), time.time()
    fine = all([*static_checks(), tests(clock + limit - RESERVE_S)])
    say(f"check: {'ok' if fine else 'FAILED'} in {time.monotonic() - start:.0f} s")
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
