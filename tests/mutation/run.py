"""Giving every check to one test file after the other, until a test notices that it is missing."""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile

from kpy.lower.mutants import Check

from tools.setup.paths import ROOT
from tools.setup.progress import say, step

TABLES, MODEL = "tests/model/test_errors_", "tests/model/"


def hunt(checks: list[Check], files: list[str], jobs: int = 1) -> dict[str, str]:
    """Return by each killed check's key the test that noticed; survivors are missing."""
    killed: dict[str, str] = {}

    def run_group(group: list[str]) -> None:
        left = [check.key for check in checks if check.key not in killed]
        if left:
            with step(f"{shown(group)}: {len(left)} checks to try"):
                found = run_files(group, left)
            new = found.keys() - killed.keys()
            for key in new:
                killed[key] = found[key]
            say(f"{shown(group)}: noticed {len(new)} that nobody had")

    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(run_group, groups(files)))
    return killed


def groups(files: list[str]) -> list[list[str]]:
    """Put files together that share a machine: one process runs them."""
    found: dict[str, list[str]] = {}
    for file in files:
        is_table = file.startswith(TABLES)
        key = TABLES if is_table else MODEL if file.startswith(MODEL) else file
        found.setdefault(key, []).append(file)
    return list(found.values())


def shown(group: list[str]) -> str:
    """Name a group of files."""
    return group[0] if len(group) == 1 else f"{group[0]} and {len(group) - 1} more"


def run_files(files: list[str], keys: list[str]) -> dict[str, str]:
    """Run the tests of some files against each check that is still alive."""
    killed = {}
    for line in worker_lines(files, keys):
        if "unusable" in line:
            say(f"{line['unusable']} fails with every check in force: {line['why'][-300:]}")
        if line.get("killed_by"):
            killed[line["check"]] = short(line["killed_by"])
    return killed


def worker_lines(files: list[str], keys: list[str]) -> list[dict]:
    """Start a worker for some files; return what it found."""
    with tempfile.NamedTemporaryFile("r", suffix=".json") as results:
        worker = subprocess.run(
            [sys.executable, "-m", "tests.mutation.worker", *files],
            input=json.dumps(keys),
            env={**os.environ, "PROXEN_MUTATION_RESULTS": results.name, "PROXEN_SEED": "0"},
            cwd=ROOT,
            capture_output=True,
            text=True,
        )
        lines = [json.loads(line) for line in results]
    if worker.returncode not in (0, 5):  # 5: no test ran in the way that pytest counts them
        say(f"the worker for {shown(files)} failed:\n{worker.stdout}{worker.stderr}")
    return lines


def short(test: str) -> str:
    """Name a test briefly: tests/unit/test_x.py::test_y becomes unit/test_x::test_y."""
    return test.removeprefix("tests/").replace(".py::", "::")
