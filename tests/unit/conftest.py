"""The machine of a test file: its class `Machine`, made once, since that compiles part of the core,
and started over for each test.
"""

import pytest


@pytest.fixture(scope="module")
def compiled(request):
    """The file's machine in whatever state it is, for tests that start it over themselves."""
    return request.module.Machine()


@pytest.fixture
def machine(compiled):
    """The file's machine, just started."""
    compiled.start_over()
    return compiled
