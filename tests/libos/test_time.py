"""The clock: the scaling of ticks, and reading while the hypervisor writes."""

import abi
import pytest
from hypothesis import given
from hypothesis import strategies as st
from kpy import jit


class Clock:
    def __init__(self):
        self.tsc = 0
        self.program = jit.load("libos.time", replace={"libos.time.rdtsc": self.rdtsc})
        self.on_read = None

    def rdtsc(self):
        if self.on_read:
            self.on_read()
        return self.tsc


@pytest.fixture(scope="module")
def clock():
    return Clock()


@given(
    ticks=st.integers(0, 2**44),
    multiplier=st.integers(1, 2**32 - 1),
    shift=st.integers(-8, 8),
)
def test_scaling_loses_no_bits(clock, ticks, multiplier, shift):
    shifted = ticks << shift if shift >= 0 else ticks >> -shift
    assert clock.program.scale(ticks, multiplier, shift) == shifted * multiplier >> 32


def test_a_read_during_an_update_is_repeated(clock):
    """The hypervisor changes the scale between the two looks at the version."""
    time = clock.program["libos.layout.shared_info"].vcpu_info[0].time
    time.version, time.tsc_timestamp, time.system_time = 2, 1000, 5_000
    time.tsc_to_system_mul, time.tsc_shift = 1 << 31, 0
    clock.tsc = 1200

    def update():
        time.version, time.system_time, clock.on_read = 4, 9_000, None

    clock.on_read = update
    assert clock.program.system_time_ns() == 9_000 + 100


def test_wall_clock_adds_the_time_since_boot(clock):
    info = clock.program["libos.layout.shared_info"]
    info.wc_version, info.wc_sec, info.wc_sec_hi, info.wc_nsec = 2, 7, 1, 30
    time = info.vcpu_info[0].time
    time.version, time.tsc_timestamp, time.system_time = 2, clock.tsc, 12
    assert clock.program.wall_clock_ns() == ((1 << 32) + 7) * 10**9 + 30 + 12


def test_abi_gives_the_clock_its_layout():
    assert abi.vcpu_time_info.size == 32
