"""Whatever guests do with their memory, isolation holds (tests/model/invariants.py)."""

import pytest
from hypothesis.stateful import run_state_machine_as_test

from tests.model.depth import settings
from tests.model.foreign_rules import ForeignRules


@pytest.mark.deep
def test_memory(whole_machine):
    run_state_machine_as_test(ForeignRules.of(whole_machine), settings=settings(40, 40))
