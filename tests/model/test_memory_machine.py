"""Whatever guests do with their memory, isolation holds (tests/model/invariants.py)."""

from hypothesis.stateful import run_state_machine_as_test

from tests.model.actors import settings
from tests.model.memory_rules import MemoryRules


def test_memory(whole_machine):
    run_state_machine_as_test(MemoryRules.of(whole_machine), settings=settings(60, 40))
