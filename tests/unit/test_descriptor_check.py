"""Segment descriptors: whatever a guest may have is of privilege level 3, or of no use."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import jit

PRESENT, DPL, NO_SYSTEM, ACCESSED = 1 << 47, 3 << 45, 1 << 44, 1 << 40
CODE64 = 0x00AF9A000000FFFF
DATA = 0x00CF92000000FFFF
CALL_GATE = 0xC << 40


@pytest.fixture(scope="module")
def check():
    return jit.load("kernel.frames.descriptor_check").checked_descriptor


@pytest.mark.parametrize("descriptor", [CODE64, DATA, CODE64 | DPL, DATA | DPL])
def test_segments_run_in_ring_3(check, descriptor):
    assert check(descriptor) == (descriptor | DPL | ACCESSED, True)


@pytest.mark.parametrize("kind", [0x1, 0x2, 0x3, 0x5, 0x6, 0x7, 0x9, 0xB, 0xE, 0xF])
def test_no_task_states_ldts_and_gates(check, kind):
    assert check(PRESENT | kind << 40)[1] is False


def test_a_call_gate_is_put_out_of_use(check):
    gate = PRESENT | DPL | CALL_GATE | 0x08 << 16 | 0x1234
    fixed, okay = check(gate)
    assert okay and fixed & DPL == 0
    assert fixed >> 16 & 0xFFFF == 0x08 | 3, "the level it gave stays to be read"


@pytest.mark.parametrize("selector", [0xE008, 0xE033, 0xFFF8])
def test_no_call_gate_to_the_core(check, selector):
    assert check(PRESENT | CALL_GATE | selector << 16)[1] is False


@given(descriptor=st.integers(0, (1 << 64) - 1))
def test_never_privileged(check, descriptor):
    """A descriptor that is let through is absent, of level 3, or a gate that faults when used."""
    fixed, okay = check(descriptor)
    if okay and fixed & PRESENT:
        is_gate = fixed & (NO_SYSTEM | 0xF << 40) == CALL_GATE
        assert fixed & DPL == (0 if is_gate else DPL)
        assert check(fixed)[1], "once let through, always"
