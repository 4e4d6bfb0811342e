"""Giving every check to one test file after the other, until a test notices that it is missing."""

import concurrent.futures
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from kpy.lower.mutants import Check

from tests.mutation import table
from tests.mutation.progress import Progress
from tools.setup.paths import ROOT
from tools.setup.progress import say

MODEL = "tests/model/"
SECONDS_TO_WORD = 60


def hunt(
    checks: list[Check], files: list[str], jobs: int = 1, state: Path | None = None
) -> dict[str, str]:
    """Return by each check's key the test that noticed, or "" if none did; those that never refused
    anything are missing.

    Args: jobs: test files at once; state: a folder (keep.py) where an earlier run left off.
    """
    with tempfile.TemporaryDirectory() as fresh:
        return Hunt(checks, files, jobs, state or Path(fresh)).run()


class Hunt:
    """One run: which checks are left to try, and what has been found."""

    def __init__(self, checks: list[Check], files: list[str], jobs: int, state: Path) -> None:
        self.keys, self.jobs, self.state = sorted({c.key for c in checks}), jobs, state
        last = table.read_killers()
        self.last = {key: last.get(key, "") for key in self.keys}
        self.groups = groups(files)
        self.found: dict[str, str] = {}
        self.progress = Progress(len(self.keys), [self.weight(group) for group in self.groups])

    def run(self) -> dict[str, str]:
        """Try what is left: files that compile little first, then those that share the machine."""
        for results in self.state.glob("*.jsonl"):
            self.read(results)
        small = [group for group in self.groups if not is_model(group)]
        with concurrent.futures.ThreadPoolExecutor(self.jobs) as pool:
            list(pool.map(self.run_part, small))
            for group in self.groups:
                if is_model(group):
                    list(pool.map(lambda n, g=group: self.run_part(g, n), range(self.jobs)))
        return self.found

    def weight(self, group: list[str]) -> float:
        """Return a group's share of the time, as measured."""
        return 30 if is_model(group) else 1

    def run_part(self, group: list[str], part: int = 0) -> None:
        """Try what is left of the checks, or every `jobs`-th of it where a group is divided."""
        parts = self.jobs if is_model(group) else 1
        name = Path(group[0]).stem
        results = self.state / f"{name}.{part}-{parts}.jsonl"
        lines = read_lines(results)
        if not any("done" in line for line in lines):
            tried = {line["check"] for line in lines if "check" in line}
            left = [k for k in self.keys[part::parts] if k not in tried and not self.found.get(k)]
            if left:
                work(group, {key: self.last[key] for key in left}, results)
            self.read(results)
        self.progress.add(self.weight(group) / parts, f"{name} done", table.nr_killed(self.found))

    def read(self, results: Path) -> None:
        """Take over what a worker found."""
        for line in read_lines(results):
            if "unusable" in line:
                say(f"{line['unusable']} fails with every check in force: {line['why'][-300:]}")
            if line.get("check") in self.last and not self.found.get(line["check"]):
                self.found[line["check"]] = table.short(line["killed_by"] or "")


def is_model(group: list[str]) -> bool:
    """Tell whether a group runs the whole machine."""
    return group[0].startswith(MODEL)


def groups(files: list[str]) -> list[list[str]]:
    """Put files together that share a machine: one process runs them."""
    found: dict[str, list[str]] = {}
    for file in files:
        found.setdefault(MODEL if file.startswith(MODEL) else file, []).append(file)
    return list(found.values())


def work(files: list[str], wanted: dict[str, str], results: Path) -> None:
    """Start a worker for some files, and wait for it."""
    worker = subprocess.Popen(
        [sys.executable, "-m", "tests.mutation.worker", *files],
        env={**os.environ, "PROXEN_MUTATION_RESULTS": str(results), "PROXEN_SEED": "0"},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    output, request = None, json.dumps(wanted)
    while output is None:
        try:
            output, _ = worker.communicate(request, timeout=SECONDS_TO_WORD)
        except subprocess.TimeoutExpired:
            request = None  # it has it
            found = sum("check" in line for line in read_lines(results))
            say(f"{Path(files[0]).stem}: {found} of {len(wanted)} checks noticed so far")
    if worker.returncode not in (0, 5):  # 5: no test ran in the way that pytest counts them
        say(f"the worker for {files[0]} failed:\n{output}")
        return
    with open(results, "a", encoding="utf-8") as file:
        file.write('{"done": true}\n')


def read_lines(results: Path) -> list[dict]:
    """Return what a worker has written so far; a line that was cut off does not count."""
    if not results.exists():
        return []
    text = results.read_text(encoding="utf-8")
    return [json.loads(line) for line in text[: text.rfind("\n") + 1].splitlines()]
