"""The tests' own seed: it repeats what was random, and every failure names it."""

import argparse

import pytest

from tests.seeds import repeat_line
from tools.qemu.repeatable import seed_number
from tools.setup.paths import ROOT

pytest_plugins = ["pytester"]

DRAWS = """
    import random
    from hypothesis import given, settings, strategies as st

    def test_python():
        print("\\npython", random.random())

    def test_fixture(run_seed):
        print("\\nfixture", run_seed)

    @settings(max_examples=5, database=None, deadline=None, derandomize=False)
    @given(st.integers())
    def test_hypothesis(n):
        print("\\nhypothesis", n)
"""
FAILS = """
    import pytest

    @pytest.mark.parametrize("n", ["a b", "c"])
    def test_lost(n):
        assert n == "c"
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest with the plugin on a test file, apart from ours, whose seeds stay as they are."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.delenv("PROXEN_SEED", raising=False)

    def run(source, *words):
        pytester.makepyfile(source)
        return pytester.runpytest_subprocess("-p", "tests.seeds", "-p", "no:cacheprovider", *words)

    return run


def drawn(result) -> list[str]:
    """Return what the tests printed."""
    words = ("python", "fixture", "hypothesis")
    found = [line for line in result.outlines if line.startswith(words)]
    assert len(found) >= 7
    return found


def test_a_seed_repeats_everything_random(run):
    first, again, other = (drawn(run(DRAWS, "-s", "--seed", seed)) for seed in ("5", "5", "6"))
    assert first == again
    assert "fixture 5" in first and "fixture 6" in other
    assert [line for line in first if line not in other and line.startswith("python")]
    assert [line for line in first if line not in other and line.startswith("hypothesis")]


def test_a_test_alone_draws_what_it_drew_among_others(run):
    together = run(DRAWS, "-s", "--seed", "5")
    alone = run(DRAWS, "-s", "--seed", "5", "-k", "python")
    (line,) = [line for line in alone.outlines if "python 0." in line]
    assert line.split()[-1] in together.stdout.str()


def test_the_environment_gives_a_seed(run, monkeypatch):
    monkeypatch.setenv("PROXEN_SEED", "77")
    run(DRAWS).stdout.fnmatch_lines(["seed: 77"])


def test_each_run_has_a_fresh_seed(run):
    seeds = {line for _ in range(2) for line in run(FAILS).outlines if line.startswith("seed: ")}
    assert len(seeds) == 2


def test_a_failure_ends_with_the_line_that_repeats_it(run):
    result = run(FAILS, "--seed", "123")
    result.assert_outcomes(failed=1, passed=1)
    name = "test_a_failure_ends_with_the_line_that_repeats_it.py::test_lost[[]a b[]]"
    result.stdout.fnmatch_lines(
        ["repeat with: make test PYTEST_ARGS='\"" + name + "\" --seed 123'"]
    )
    assert result.stdout.str().count("repeat with:") == 1


def test_plain_names_are_not_quoted():
    assert repeat_line("tests/a.py::b", 4).endswith("PYTEST_ARGS='tests/a.py::b --seed 4'")


@pytest.mark.parametrize("word", ["x", "-1", "4294967296", ""])
def test_what_is_no_seed_is_refused(word):
    with pytest.raises(argparse.ArgumentTypeError, match=f"'{word}' is no seed; take a number"):
        seed_number(word)


def test_a_wrong_seed_in_the_environment_is_refused(run, monkeypatch):
    monkeypatch.setenv("PROXEN_SEED", "x")
    result = run(DRAWS)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(["*PROXEN_SEED: 'x' is no seed; take a number from 0 to *"])
