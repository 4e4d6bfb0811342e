"""`make check`: which tests a change touches, and how many run within a time."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools.check import runner, touched
from tools.check.plugin import PLAN

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("changed", "some", "none"),
    [
        ("libos/heap.py", "tests/libos/test_memory.py", "tests/unit/test_evtchn.py"),
        ("kernel/evtchn/channel.py", "tests/unit/test_evtchn.py", "tests/libos/test_text.py"),
        ("tests/unit/memory_machine.py", "tests/unit/test_heap.py", "tests/unit/test_cmdline.py"),
        ("tools/asm/elf.py", "tests/asm/test_asm.py", "tests/unit/test_evtchn.py"),
        ("kernel/x86/entry.asm", "tests/asm/test_golden.py", "tests/unit/test_evtchn.py"),
        ("kernel/abi/xen.h", "tests/abi/test_generated.py", "tests/unit/test_seeds.py"),
        ("tools/kpy/check/expr.py", "tests/kpy/test_kpy_habits.py", "tests/unit/test_seeds.py"),
    ],
)
def test_touched(changed, some, none):
    found = touched.touched([changed])
    assert some in found
    assert none not in found


def test_nothing_changed_touches_the_documents_only():
    assert touched.touched([]) == list(touched.ALWAYS)


def test_settings_of_the_tests_touch_all():
    assert touched.touched(["pyproject.toml"]) == touched.test_files()


def test_a_changed_test_comes_first_and_then_the_quickest(monkeypatch):
    times = {"tests/kpy/a.py": 9, "tests/unit/b.py": 1, "tests/unit/c.py": 7}
    monkeypatch.setattr(runner, "known_times", lambda: times)
    files = [*times, "tests/unit/new.py"]
    assert runner.in_order(files, ["tests/unit/c.py"], False) == [
        "tests/unit/c.py",
        "tests/unit/b.py",
        "tests/unit/new.py",
        "tests/kpy/a.py",
    ]
    assert runner.in_order(files, [], True)[0] == "tests/kpy/a.py"
    assert (
        runner.in_order(["tests/model/x.py", "tests/unit/y.py"], [], False)[0] == "tests/unit/y.py"
    )


@pytest.fixture
def planned(tmp_path):
    """Run two test files by a plan, in a folder of their own; return what the plugin reports."""
    (tmp_path / "test_one.py").write_text("def test_a():\n    pass\ndef test_b():\n    assert 0\n")
    (tmp_path / "test_two.py").write_text("def test_c():\n    pass\n")
    plan, files = tmp_path / "plan.json", ["test_two.py", "test_one.py"]

    def run(deadline):
        plan.write_text(json.dumps({"files": files, "deadline": deadline}))
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "tools.check.plugin", *files],
            cwd=tmp_path,
            env=os.environ | {PLAN: str(plan), "PYTHONPATH": str(ROOT)},
            capture_output=True,
        )
        return json.loads(plan.read_text())

    return run


def test_a_plan_counts_failures_and_times(planned):
    report = planned(time.time() + 1000)
    assert report["failures"] == 1
    assert set(report["took"]) == {"test_one.py", "test_two.py"}


def test_nothing_begins_after_the_deadline(planned):
    report = planned(time.time() - 1)
    assert report["took"] == {}
    assert report["failures"] == 0


def test_a_test_that_does_not_end_is_left_out_and_not_waited_for(monkeypatch):
    """In pytest's place a process that ends by itself long after the time."""
    monkeypatch.setattr(runner, "_start", stuck)
    outcome = runner.run(["tests/unit/test_seeds.py"], time.time() - runner.GRACE_S)
    assert outcome.failures == 0
    assert outcome.left_out == ["tests/unit/test_seeds.py"]


def stuck(number, files, deadline):
    plan = runner.TIMES.parent / f"plan.{os.getpid()}.stuck.json"
    plan.write_text(json.dumps({"files": files, "deadline": deadline}))
    command = [sys.executable, "-c", "import time; time.sleep(1000)"]
    return plan, subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
