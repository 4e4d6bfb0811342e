"""The rate of the TSC, measured against clocks that a test turns."""

import ctypes
import random

import pytest
from kpy import jit

KHZ = 2_500_000
STEP = 5000  # TSC ticks that each look at a clock takes
PM_PORT, PM_HZ = 0x608, 3_579_545
PIT_HZ, PIT_TICKS = 1_193_182, 11_932
HPET_PERIOD_FS = 10_000_000


class Clocks:
    """Which clocks there are, and how far they are."""

    def __init__(self):
        self.tsc = 0
        self.has = set()
        self.leaf = {}
        self.pit_started = None
        self.step = STEP
        self.stalls = None

    def ticks(self, hz):
        return self.tsc * hz // (KHZ * 1000)

    def rdtsc(self):
        self.tsc += self.step
        if self.stalls and self.stalls.random() < 0.2:
            self.tsc += STALL
        return self.tsc

    def in32(self, port):
        """The ACPI timer has 24 bits; a missing one reads as ones, and time flies meanwhile."""
        self.tsc += self.step if "pm" in self.has else 1 << 30
        return self.ticks(PM_HZ) & 0xFFFFFF if "pm" in self.has else 0xFFFFFFFF

    def out8(self, port, value):
        if port == 0x42:
            self.pit_started = self.tsc

    def in8(self, port):
        self.tsc += self.step
        since = (self.tsc - self.pit_started) * PIT_HZ // (KHZ * 1000) if self.pit_started else 0
        return 0x20 if "pit" in self.has and since >= PIT_TICKS else 0

    def hpet_read(self, registers, offset):
        self.tsc += self.step
        if offset == 4:
            return HPET_PERIOD_FS if "hpet" in self.has else 0xFFFFFFFF
        return self.ticks(10**15 // HPET_PERIOD_FS) & 0xFFFFFFFF

    def cpuid(self, leaf, subleaf, result):
        result.eax, result.ebx, result.ecx, result.edx = self.leaf.get(leaf, (0, 0, 0, 0))


@pytest.fixture(scope="module")
def loaded():
    clocks = Clocks()
    registers = ctypes.create_string_buffer(64)
    program = jit.load(
        "kernel.x86.calibrate",
        replace={
            "kernel.x86.cpu.rdtsc": clocks.rdtsc,
            "kernel.x86.cpu.in32": clocks.in32,
            "kernel.x86.cpu.in8": clocks.in8,
            "kernel.x86.cpu.out8": clocks.out8,
            "kernel.x86.cpu.cpuid_into": clocks.cpuid,
            "kernel.x86.calibrate.hpet_read": clocks.hpet_read,
            "kernel.x86.paging.map_device": lambda maddr, size: ctypes.addressof(registers),
        },
    )
    return program, clocks


STALL = KHZ * 5  # TSC ticks; 5 ms


@pytest.fixture
def measure(loaded):
    """Measure with the clocks that the firmware names, of which only some are there."""
    program, clocks = loaded

    def run(*there, port=PM_PORT, hpet=0xFED00000, pit=True, leaf=None, busy=None):
        clocks.__init__()
        clocks.stalls = busy
        clocks.has = set(there)
        clocks.leaf = leaf or {}
        fixed = "kernel.x86.fixed_hardware"
        program[f"{fixed}.pm_timer_port"].value = port
        program[f"{fixed}.hpet_maddr"].value = hpet
        program[f"{fixed}.has_pit"].value = pit
        return program.measure_tsc_khz()

    return run


@pytest.mark.parametrize("clock", ["pm", "hpet", "pit"])
def test_each_clock_alone_will_do(measure, clock):
    found = measure(clock, **({} if clock == "pm" else {"port": 0}))
    assert abs(found - KHZ) < KHZ // 1000


@pytest.mark.parametrize("clock", ["pm", "hpet"])
def test_a_host_with_other_work_does_not_falsify_the_rate(measure, clock):
    """Between reading a clock and the TSC the processor may be taken away for milliseconds."""
    for seed in range(20):
        found = measure(clock, busy=random.Random(seed), **({} if clock == "pm" else {"port": 0}))
        assert abs(found - KHZ) < KHZ // 100


def test_a_clock_that_stands_still_is_passed_over(measure):
    """The firmware names an ACPI timer, which always reads the same."""
    assert abs(measure("hpet") - KHZ) < KHZ // 100


def test_at_last_the_processor_is_asked(measure):
    leaf = {0: (0x16, 0, 0, 0), 0x15: (2, 200, 25_000_000, 0)}
    assert measure(port=0, hpet=0, pit=False, leaf=leaf) == KHZ
    for missing in ({}, {0: (0x16, 0, 0, 0)}, {0: (0x14, 0, 0, 0), 0x15: (2, 200, 25_000_000, 0)}):
        with pytest.raises(jit.KpyPanic, match="no clock measures the time-stamp counter"):
            measure(port=0, hpet=0, pit=False, leaf=missing)
