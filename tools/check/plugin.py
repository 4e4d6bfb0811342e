"""A pytest plugin: tests in the order of a plan, until a deadline, and what each file took."""

import json
import os
import time
from pathlib import Path

import pytest

PLAN = "PROXEN_CHECK_PLAN"


class Planned:
    """What runs of a plan: `files` in order, `deadline` in seconds of the system's clock."""

    def __init__(self, path: Path):
        self.path, plan = path, json.loads(path.read_text())
        self.order = {name: place for place, name in enumerate(plan["files"])}
        self.deadline = plan["deadline"]
        self.took: dict[str, float] = {}
        self.items: dict[str, int] = {}
        self.ran: dict[str, int] = {}
        self.failures = 0

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        """Keep each file's tests together."""
        items.sort(key=lambda item: self.order.get(_file(item.nodeid), 0))
        for item in items:
            self.items[_file(item.nodeid)] = self.items.get(_file(item.nodeid), 0) + 1

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Count what a file takes, fixtures and all."""
        name = _file(report.nodeid)
        self.took[name] = self.took.get(name, 0) + report.duration
        self.failures += report.failed
        if report.when == "teardown":
            self.ran[name] = self.ran.get(name, 0) + 1
            if self._is_whole(name):
                self.save()

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        """A file that cannot be imported is a failure."""
        self.failures += report.failed

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> None:
        """Begin nothing at all if collecting took the time."""
        self.session = session
        self.save()
        if time.time() > self.deadline:
            session.items.clear()

    def pytest_runtest_logfinish(self) -> None:
        """Stop before the next test if the time is over."""
        if time.time() > self.deadline:
            self.session.shouldstop = "the time is over"

    def pytest_sessionfinish(self) -> None:
        """Say what was done, were it that nothing could be collected."""
        if self.items or self.failures:
            self.save()

    def save(self) -> None:
        """Leave what is done so far: who runs this may have no more time to wait."""
        whole = {name: took for name, took in self.took.items() if self._is_whole(name)}
        found = {"took": whole, "empty": self._empty(), "failures": self.failures}
        self.path.write_text(json.dumps(found))

    def _is_whole(self, name: str) -> bool:
        return self.ran.get(name, 0) == self.items.get(name)

    def _empty(self) -> list[str]:
        """Files of which no test is wanted here: all of them boot a machine."""
        return [name for name in self.order if name not in self.items]


def _file(nodeid: str) -> str:
    return nodeid.split("::")[0]


def pytest_configure(config: pytest.Config) -> None:
    """Register for runs that have a plan."""
    if path := os.environ.get(PLAN):
        config.pluginmanager.register(Planned(Path(path)))
