"""The machine with the whole core, made once for all tests, and as after its boot for each."""

import faulthandler

import pytest

from tests.model.depth import IS_DEEP
from tests.model.machine import Machine

PATIENCE_S = 12 * 3600 if IS_DEEP else 3600


@pytest.fixture(scope="session")
def whole_machine():
    """The machine, in whatever state it is: for state machines, which start it over themselves."""
    return Machine()


@pytest.fixture
def machine(whole_machine):
    """The machine with dom0 and two guests, just started."""
    whole_machine.start_over()
    return whole_machine


@pytest.fixture
def the_schedule(request):
    """The schedule that the command line names, or None."""
    return request.config.getoption("--schedule")


@pytest.fixture(autouse=True)
def _watchdog():
    """A core that loops for ever cannot be interrupted: end the run, saying where."""
    faulthandler.dump_traceback_later(PATIENCE_S, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
