"""What QEMU says of its processors, read."""

import pytest

from tools.qemu.cpus import what_cpus_do


class Monitor:
    """A QEMU whose processors stand still."""

    def __init__(self, registers):
        self.registers = registers

    def status(self):
        return "paused"

    def human(self, command, cpu=0):
        return self.registers if command.startswith("info registers") else ""


class Config:
    kernel = "nothing"
    hypervisor = None


@pytest.mark.parametrize("width", ["E", "R"])
def test_processors_of_either_mode_are_described(width):
    """A machine may hang in its firmware, whose registers have 32 bits."""
    registers = f"\nCPU#0\n{width}BP=00000000 {width}SP=00000ff0\n{width}IP=000f7b5f CPL=0 HLT=1\n"
    lines = what_cpus_do(Monitor(registers), Config())
    assert lines[0] == "cpu 0: sleeps in ring 0, rip 0xf7b5f"
