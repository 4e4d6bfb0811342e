"""Whatever guests share, and whoever dies, isolation holds (tests/model/invariants.py)."""

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.model.depth import settings
from tests.model.foreign_rules import ForeignRules
from tests.model.grant_rules import GrantRules
from tests.model.life_rules import LifeRules


class Everything(LifeRules, GrantRules, ForeignRules):
    """All of it, while domains come and go."""


@pytest.mark.deep
def test_grants(whole_machine):
    run_state_machine_as_test(GrantRules.of(whole_machine), settings=settings(35, 40))


@pytest.mark.deep
def test_life(whole_machine):
    run_state_machine_as_test(Everything.of(whole_machine), settings=settings(35, 40))
