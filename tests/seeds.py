"""A pytest plugin: one seed for all that is random in a run of the tests.

`--seed N` or PROXEN_SEED=N gives it, else each run takes a fresh one, so that runs look at
different cases. It seeds hypothesis, Python's `random` anew for each test (so a test needs no other
test to repeat itself), hostile guests, and RDRAND and time slices of booted machines. The header
shows it, and each failure ends with the line that repeats it. On two processors a booted machine
follows its seed only roughly; tests/boot/test_repeatable.py has those that repeat exactly.
"""

import argparse
import os
import random
import secrets

import pytest

from tools.qemu.repeatable import SEEDS, seed_number

KEY = pytest.StashKey[int]()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --seed."""
    parser.addoption(
        "--seed",
        type=seed_number,
        metavar="N",
        help="seed of all that is random, as a failure shows it; default: $PROXEN_SEED or fresh",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Choose the seed, before hypothesis looks at its own option."""
    seed = config.getoption("--seed")
    if seed is None:
        seed = _seed_of_environment()
    config.stash[KEY] = secrets.randbelow(SEEDS) if seed is None else seed
    if config.getoption("--hypothesis-seed", None) is None:
        config.option.hypothesis_seed = config.stash[KEY]


def _seed_of_environment() -> int | None:
    """Return PROXEN_SEED. Errors: UsageError, it is no seed."""
    word = os.environ.get("PROXEN_SEED")
    try:
        return seed_number(word) if word else None
    except argparse.ArgumentTypeError as error:
        raise pytest.UsageError(f"PROXEN_SEED: {error}") from None


def pytest_report_header(config: pytest.Config) -> str:
    """Show the seed."""
    return f"seed: {config.stash[KEY]}"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Give each test random numbers that depend on the seed and its name only."""
    random.seed(f"{item.config.stash[KEY]} {item.nodeid}")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """End a failure's report with the line that repeats it."""
    report = yield
    if report.failed:
        report.sections.append(("seed", repeat_line(item.nodeid, item.config.stash[KEY])))
    return report


def repeat_line(nodeid: str, seed: int) -> str:
    """Return what to type to run one test as it ran here."""
    name = f'"{nodeid}"' if set(nodeid) & set(" []();&|<>*?") else nodeid
    return f"repeat with: make test PYTEST_ARGS='{name} --seed {seed}'"


@pytest.fixture(scope="session")
def run_seed(pytestconfig) -> int:
    """The seed of this run of the tests."""
    return pytestconfig.stash[KEY]
