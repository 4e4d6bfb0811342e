"""The world of the fuzzer, made once for all tests."""

import pytest

from tests.fuzz.engine import Engine
from tests.fuzz.world import World


@pytest.fixture(scope="session")
def world():
    return World()


@pytest.fixture
def engine(world):
    """A way to run programs in the world, with nothing reached so far."""
    return Engine(world)
