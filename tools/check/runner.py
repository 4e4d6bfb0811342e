"""Runs test files within a time, the quickest first, in two processes."""

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tools.check.plugin import PLAN
from tools.setup.paths import BUILD, ROOT

TIMES = BUILD / "check" / "times.json"
WORKERS = 2
SLOW_S = {"model": 20.0, "fuzz": 60.0, "mutation": 30.0, "toolstack": 10.0}
UNKNOWN_S = 3.0  # what a file of another folder is thought to take that never ran here
GRACE_S = 3.0  # for the test that runs at the deadline; then it counts as left out
SELECTED = "not boot and not slow and not long and not real_xen"


@dataclass
class Outcome:
    """What came of the tests: `left_out` files did not fit into the time."""

    failures: int
    text: str
    left_out: list[str]


def known_times() -> dict[str, float]:
    """Return the seconds that each file took when it ran last."""
    try:
        return json.loads(TIMES.read_text())
    except (OSError, ValueError):
        return {}


def in_order(files: list[str], first: list[str], compiler: bool) -> list[str]:
    """Sort: the files in `first`, the compiler's own tests if it changed, then the quickest."""
    times = known_times()

    def key(name: str) -> tuple:
        own = compiler and name.startswith("tests/kpy/")
        guess = SLOW_S.get(name.split("/")[1], UNKNOWN_S)
        return name not in first, not own, times.get(name, guess), name

    return sorted(files, key=key)


def run(files: list[str], deadline: float) -> Outcome:
    """Run the files in their order until the deadline, a time of the system's clock."""
    TIMES.parent.mkdir(parents=True, exist_ok=True)
    shares = [share for i in range(WORKERS) if (share := files[i::WORKERS])]
    workers = [_start(i, share, deadline) for i, share in enumerate(shares)]
    failures, texts, times, done = 0, [], known_times(), set()
    for plan, process in workers:
        text, ended = _wait(process, deadline + GRACE_S)
        report = json.loads(plan.read_text())
        plan.unlink()
        if "took" not in report:
            if ended:  # pytest itself failed
                return Outcome(1, text, files)
            continue
        failures += report["failures"]
        texts.append(text)
        times |= report["took"]
        done |= {*report["took"], *report["empty"]}
    TIMES.write_text(json.dumps(times, indent=1, sort_keys=True))
    return Outcome(failures, "\n".join(texts), [name for name in files if name not in done])


def _wait(process: subprocess.Popen, until: float) -> tuple[str, bool]:
    """Return what pytest printed, and whether it ended by itself before a time."""
    try:
        return process.communicate(timeout=max(0, until - time.time()))[0], True
    except subprocess.TimeoutExpired:
        process.kill()
        return process.communicate()[0], False


def _start(number: int, files: list[str], deadline: float) -> tuple[Path, subprocess.Popen]:
    plan = TIMES.parent / f"plan.{os.getpid()}.{number}.json"
    plan.write_text(json.dumps({"files": files, "deadline": deadline}))
    command = [sys.executable, "-m", "pytest", "-q", "-m", SELECTED, "-p", "tools.check.plugin"]
    process = subprocess.Popen(
        [*command, *files],
        cwd=ROOT,
        env=os.environ | {PLAN: str(plan)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    return plan, process
