"""Giving every check to one test file after the other, until a test notices that it is missing."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterable

from kpy.mutants import Check

from tools.setup.paths import ROOT
from tools.setup.progress import say, step


class MutationFailure(Exception):
    """A test file cannot be used, whatever the check."""


def hunt(checks: list[Check], files: Iterable[str]) -> dict[str, str]:
    """Return by each killed check's key the test that noticed; survivors are missing."""
    killed: dict[str, str] = {}
    for file in files:
        left = [check.key for check in checks if check.key not in killed]
        if not left:
            break
        with step(f"{file}: {len(left)} checks to try"):
            before = len(killed)
            killed |= run_file(file, left)
            say(f"{file}: killed {len(killed) - before}")
    return killed


def run_file(file: str, keys: list[str]) -> dict[str, str]:
    """Run one file's tests against each check that is still alive."""
    killed = {}
    for line in worker_lines(file, keys):
        if "unusable" in line:
            raise MutationFailure(f"{file} fails with every check in force: {line['unusable']}")
        if line.get("killed_by"):
            killed[line["check"]] = short(line["killed_by"])
    return killed


def worker_lines(file: str, keys: list[str]) -> list[dict]:
    """Start a worker for a file; return what it found."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as results:
        worker = subprocess.run(
            [sys.executable, "-m", "tests.mutation.worker", file],
            input=json.dumps(keys),
            env={**os.environ, "PROXEN_MUTATION_RESULTS": results.name},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        lines = [json.loads(line) for line in results]
    if worker.returncode not in (0, 5):  # 5: no test ran in the way that pytest counts them
        raise MutationFailure(f"the worker for {file} failed:\n{worker.stdout}{worker.stderr}")
    return lines


def short(test: str) -> str:
    """Name a test briefly: tests/unit/test_x.py::test_y becomes unit/test_x::test_y."""
    return test.removeprefix("tests/").replace(".py::", "::")
