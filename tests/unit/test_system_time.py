"""System time from the TSC, and the date from the CMOS clock."""

import datetime

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from kpy import jit

clock = {"tsc": 0}
cmos = {}


@pytest.fixture(scope="module")
def tsc():
    return jit.load("kernel.x86.tsc", replace={"kernel.x86.cpu.rdtsc": lambda: clock["tsc"]})


@settings(max_examples=300, deadline=None)
@given(khz=st.integers(1_000, 10_000_000), seconds=st.integers(0, 10_000_000))
def test_the_scale_is_right_to_a_millionth(tsc, khz, seconds):
    tsc.set_scale(khz)
    assert 1 << 31 <= tsc.tsc_to_system_mul.value < 1 << 32
    got = tsc.tsc_to_ns(khz * 1000 * seconds)
    assert abs(got - seconds * 10**9) <= seconds * 1000 + 1


@settings(max_examples=200, deadline=None)
@given(khz=st.integers(100_000, 5_000_000), ns=st.integers(0, 10**16))
def test_deadlines_are_the_inverse(tsc, khz, ns):
    tsc.tsc_khz.value = khz
    tsc.tsc_base.value = 12345
    tsc.set_scale(khz)
    clock["tsc"] = tsc.ns_to_tsc(ns)
    assert abs(tsc.system_time_ns() - ns) <= ns // 1_000_000 + 20


def test_a_reading_before_the_base_is_time_zero(tsc):
    tsc.tsc_base.value = 1000
    clock["tsc"] = 999
    assert tsc.system_time_ns() == 0


@pytest.fixture(scope="module")
def wallclock():
    selected = {"register": 0}

    def out8(port, value):
        selected["register"] = value

    return jit.load(
        "kernel.x86.wallclock",
        replace={
            "kernel.x86.cpu.out8": out8,
            "kernel.x86.cpu.in8": lambda port: cmos[selected["register"]],
        },
    )


def set_clock(when, binary, hours_24):
    encode = (lambda n: n) if binary else (lambda n: n // 10 << 4 | n % 10)
    hour = encode(when.hour)
    if not hours_24:
        hour = encode((when.hour + 11) % 12 + 1) | (0x80 if when.hour >= 12 else 0)
    cmos.update({0: encode(when.second), 2: encode(when.minute), 4: hour, 7: encode(when.day)})
    cmos.update({8: encode(when.month), 9: encode(when.year - 2000), 10: 0})
    cmos[11] = (4 if binary else 0) | (2 if hours_24 else 0)


@settings(max_examples=200, deadline=None)
@given(
    when=st.datetimes(datetime.datetime(2000, 1, 1), datetime.datetime(2099, 12, 31)),
    binary=st.booleans(),
    hours_24=st.booleans(),
)
def test_the_date_is_read_in_every_notation(wallclock, when, binary, hours_24):
    set_clock(when, binary, hours_24)
    expected = int(when.replace(microsecond=0, tzinfo=datetime.UTC).timestamp())
    assert wallclock.read_cmos_seconds() == expected
