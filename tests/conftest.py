"""Fixtures and order for all tests: quick layers first, one booted machine for all that need dom0.

PROXEN_HV=xen runs the same tests on real Xen 4.17; PROXEN_HV=linux those that need no hypervisor.
"""

import hypothesis
import pytest

from tests.hosts import Host
from tools.qemu.hosts import default_kind

pytest_plugins = ["tests.seeds"]

LAYERS = ("unit", "model", "mutation", "kpy", "abi", "asm", "libos", "guests", "boot", "toolstack")

# A busy machine is no failure: properties have no time limit of their own. And what CI looks at
# follows the seed, as everywhere, where hypothesis by itself would look at the same cases for ever.
hypothesis.settings.register_profile("house", deadline=None, derandomize=False)
hypothesis.settings.load_profile("house")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --schedule."""
    parser.addoption(
        "--schedule",
        help="the only schedule of races to run (tests/model/race.py), as in 'A A@30>B'",
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the fastest layers first; all tests of the shared machine come last and together."""
    for item in items:
        if _boots(item):
            item.add_marker("boot")
    items.sort(key=lambda item: (_boots(item), _layer(item)))


def _boots(item: pytest.Item) -> bool:
    return "host" in getattr(item, "fixturenames", ())


def _layer(item: pytest.Item) -> int:
    """Return the place of the test's folder; one that is not in the list counts as the quickest."""
    folder = item.path.parent.name
    return LAYERS.index(folder) if folder in LAYERS else 0


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item):
    """Keep the traces of a failed test's machine, and show the end of its console."""
    report = yield
    running = item.funcargs.get("host") if hasattr(item, "funcargs") else None
    if report.failed and running is not None:
        running.keep_traces(item.nodeid)
        tail = "\n".join(running.serial.text().splitlines()[-40:])
        report.sections.append((f"console ({running.folder})", tail))
    return report


@pytest.fixture(scope="session")
def _host(run_seed):
    holder = Host(default_kind(), run_seed)
    yield holder
    holder.stop()


@pytest.fixture
def host(_host):
    """A tools.qemu.machine.Machine with dom0 up; booted once, and again if a test killed it."""
    return _host.machine()


@pytest.fixture
def xend_url(host):
    """Where xend answers on this side, such as "http://127.0.0.1:40123"."""
    return f"http://127.0.0.1:{host.port()}"


@pytest.fixture
def dom0(host):
    """dom0's shell: `dom0.check("command")` gives its output, or fails the test."""
    return host.shell
